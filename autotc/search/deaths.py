"""Policies under which the whole process ended: what is about to run is written down; what killed twice is left out."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from autotc.policy import Policy
from autotc.search.errors import SearchError
from autotc.search.storage import Study

FATAL = 2
"""Ends of the process under one policy after which it is not run again."""
_RUNNING, _DEATHS = "running", "deaths"


class DeathWatch:
    """Knows under which policies earlier calls of a study were killed, crashed, or ran out of the machine's memory.

    Args:
        study: where it is written down.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        deaths: list[str] = list(study.attribute(_DEATHS) or [])
        left = study.attribute(_RUNNING)
        self.latest = None if left is None else Policy.from_yaml(left, f"study {study.name}: running")
        if left is not None:
            deaths.append(left)
            study.note(_DEATHS, deaths)
            study.note(_RUNNING, None)
        counts = Counter(deaths)
        self.policies = {text: Policy.from_yaml(text, f"study {study.name}: deaths") for text in counts}
        self._counts = {self.policies[text].content_hash(): count for text, count in counts.items()}

    def begins(self, policy: Policy) -> None:
        """A policy is about to run."""
        self._study.note(_RUNNING, policy.to_yaml())

    def ends(self) -> None:
        """Nothing runs any more; also where the database cannot be written, since that is being told already."""
        with suppress(SearchError):
            if self._study.attribute(_RUNNING) is not None:
                self._study.note(_RUNNING, None)

    def times(self, policy: Policy) -> int:
        """How often the process ended while a policy ran."""
        return self._counts.get(policy.content_hash(), 0)

    def fatal(self, policy: Policy) -> bool:
        """Whether a policy is not to be run again."""
        return self.times(policy) >= FATAL
