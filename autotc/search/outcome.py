"""What becomes of a proposal: it ran, lost its race, was refused, failed, or was known from before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotc.policy import Policy
from autotc.results import Results, SplitCost


@dataclass(frozen=True)
class _Proposal:
    """What every outcome tells.

    Attributes:
        origin: who proposed the policy.
        policy: as it ran or would have run, moved onto the budget; as proposed where it was refused before.
    """

    origin: str
    policy: Policy


@dataclass(frozen=True)
class Known(_Proposal):
    """A policy that was tried before; nothing ran."""


@dataclass(frozen=True)
class Refused(_Proposal):
    """A policy that was refused before it ran.

    Attributes:
        rule: that refused it, or `OVER_BUDGET`, `PREDICTED_CONFLICT`, ``does_not_fit``.
        reason: why, in words.
        constraints: name -> cost minus budget.
    """

    rule: str
    reason: str
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed(_Proposal):
    """A policy under which something raised.

    Attributes:
        reason: the policy, the error's class and its first line.
    """

    reason: str


@dataclass(frozen=True)
class _Measured(_Proposal):
    """A policy that ran.

    Attributes:
        constraints: name -> cost minus budget.
        results: on the samples that it ran on.
        cost: analytic, on the whole split.
        audited: a stack that is predicted to conflict and ran all the same, to see whether the prediction was right.
    """

    constraints: Mapping[str, float]
    results: Results
    cost: SplitCost
    audited: bool = False


@dataclass(frozen=True)
class Raced(_Measured):
    """A policy that was given up on part of the samples.

    Attributes:
        reason: what it lost to, and by how much.
    """

    reason: str = field(kw_only=True)


@dataclass(frozen=True)
class Ran(_Measured):
    """A policy that ran on all samples."""


Outcome = Ran | Raced | Refused | Failed | Known

OVER_BUDGET = "over_budget"
"""In place of a rule's name where a policy cannot be moved onto the budget."""
LEFT_OUT = "failing_mechanism"
"""In place of a rule's name where a mechanism of the policy has failed whenever it ran."""
PREDICTED_CONFLICT = "predicted_conflict"
"""In place of a rule's name where a stack is predicted to do worse than its best stage alone."""
