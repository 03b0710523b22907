"""Which mechanisms fail whenever they run, so that a search leaves them out by name and goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autotc.policy import Policy

LIMIT = 4
"""Failures, without any run that went well, after which a mechanism is left out."""
DEATH = 1.5
"""Failures that the end of a whole process counts as: a worker may also be ended from outside."""


class MechanismFailures:
    """Counts failures of mechanisms that never ran well.

    An error that names a mechanism of the policy is that one's; any other is every one's that has not run well yet.
    """

    def __init__(self) -> None:
        self._failures: dict[str, float] = {}
        self._fine: set[str] = set()
        self.left_out: set[str] = set()

    def went_well(self, policy: Policy) -> None:
        """A policy ran: none of its mechanisms is at fault."""
        self._fine.update(mechanisms_of(policy))

    def failed(self, policy: Policy, error: str, weight: float = 1) -> list[str]:
        """A policy failed; returns the mechanisms that are to be left out from now on.

        Args:
            policy: that failed.
            error: what was said, without the policy's own name.
            weight: failures that it counts as.
        """
        suspects = [name for name in mechanisms_of(policy) if name not in self._fine]
        named = [name for name in suspects if re.search(rf"\b{re.escape(name)}\b", error)]
        newly: list[str] = []
        # Where nothing has run well yet, an error that names no mechanism may be anything's.
        for name in named or (suspects if self._fine else []):
            self._failures[name] = self._failures.get(name, 0) + weight
            if self._failures[name] >= LIMIT and name not in self.left_out:
                self.left_out.add(name)
                newly.append(name)
        return newly


def mechanisms_of(policy: Policy) -> Iterable[str]:
    """Names of a policy's mechanisms, each once, in order."""
    return dict.fromkeys(stage.mechanism for stage in policy.stages)
