"""Work that nobody finished: policies under which a whole process ended, and what is to be run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from autotc.policy import Policy
from autotc.search.leases import DIED, GIVEN_BACK, LOST

if TYPE_CHECKING:
    import optuna

FATAL = 3
"""Ends of the process under one policy after which it is not run again: it has been tried again twice."""
WORK, ORIGIN = "work", "origin"
"""Attributes of a trial that a worker has taken: the policy that it runs, as YAML, and who proposed it."""


class Deaths:
    """Knows under which policies workers were killed, crashed, or ran out of the machine's memory.

    Attributes:
        unfinished: content hash -> who proposed which policy that a worker did not finish, since it died or gave it
            back.
    """

    def __init__(self) -> None:
        self.unfinished: dict[str, tuple[str, Policy]] = {}
        self._counts: Counter[str] = Counter()
        self._seen: set[int] = set()

    def look(self, trials: Iterable[optuna.trial.FrozenTrial]) -> list[Policy]:
        """Take note of trials that were lost; returns the policies of those that were not known before."""
        found = []
        for trial in trials:
            if trial.number in self._seen or WORK not in trial.user_attrs:
                continue
            if trial.user_attrs.get(LOST) not in (DIED, GIVEN_BACK):
                continue
            self._seen.add(trial.number)
            policy = Policy.from_yaml(trial.user_attrs[WORK], f"trial {trial.number}")
            self.unfinished[policy.content_hash()] = (str(trial.user_attrs.get(ORIGIN, "again")), policy)
            if trial.user_attrs[LOST] == DIED:
                self._counts[policy.content_hash()] += 1
                found.append(policy)
        return found

    def times(self, policy: Policy) -> int:
        """How often a process ended while a policy ran."""
        return self._counts[policy.content_hash()]

    def fatal(self, policy: Policy) -> bool:
        """Whether a policy is not to be run again."""
        return self.times(policy) >= FATAL
