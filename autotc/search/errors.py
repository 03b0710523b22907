"""What a search raises."""

from __future__ import annotations

from autotc.errors import AutotcError


class SearchError(AutotcError):
    """A search was asked for something it cannot do."""


class SearchStopped(SearchError):
    """Something outside the search, such as a full disk, ended it; what was done is saved.

    Args:
        reason: what happened.
        study: name of the study.
    """

    def __init__(self, reason: str, study: str) -> None:
        super().__init__(f"{reason}; what is done is kept, go on: autotc search --resume {study}")


class SearchInterrupted(AutotcError):
    """The search was interrupted; what was done is saved.

    Args:
        study: name of the study.
        done: trials that are saved.
        total: trials that were asked for.
        terminated: whether the process was asked to end from outside (SIGTERM), as clouds do.
    """

    def __init__(self, study: str, done: int, total: int, *, terminated: bool = False) -> None:
        super().__init__(
            f"interrupted after {done} of {total} trials, all saved; go on: autotc search --resume {study}"
        )
        self.study, self.done = study, done
        self.terminated = terminated
