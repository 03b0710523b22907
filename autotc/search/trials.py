"""Trials as a study keeps them, and what is read back from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autotc.pareto import pareto_front
from autotc.policy import Policy
from autotc.results import SplitCost

if TYPE_CHECKING:
    import optuna

RECORD = "record"
"""User attribute of a stored trial: a `StoredTrial`. One attribute, since each costs a write."""
State = Literal["COMPLETE", "PRUNED", "FAIL"]
_SHOWN = {"tokens", "flops_ratio_by", "scoring_share"}
NOT_STORED = {"flops_spread"}
"""Of a cost: what a search does not ask for."""
_REST = {field.name for field in fields(SplitCost)} - _SHOWN - NOT_STORED


class StoredTrial(BaseModel):
    """A trial as the study keeps it, under the attribute ``record``.

    Attributes:
        hash: content hash of the policy; absent where an older study holds something else.
        origin: who proposed the policy.
        policy: as it ran: `Policy.to_data`; YAML in studies of before.
        watched: samples that were run for it to predict conflicts.
        audited: a stack that is predicted to conflict and ran all the same.
        refused, reason: rule that refused it, and why.
        error: why it failed.
        raced: what it lost its race to.
        accuracy, tasks: modality group or task -> mean score, on the samples that it ran on.
        log_probability: mean over modality groups, see `Results`; stored as ``guide``.
        divergence: from the uncompressed model's predictions, in nats.
        tokens, flops_ratio_by, scoring_share: analytic, see `SplitCost`.
        cost: the rest of it; empty in studies of before.
        prices: modality group -> what the policy costs there relative to the uncompressed model, of what is budgeted
            that of which it takes the largest share; empty in studies of before.
        samples: how many it ran on.
        forwards: samples that were run for it, which were not known from policies with the same stages.
        ran: whether any sample was run; if not, all was known from policies with the same stages.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    hash: str
    origin: str
    policy: str | dict[str, object]
    watched: int = 0
    audited: bool = False
    refused: str | None = None
    reason: str | None = None
    error: str | None = None
    raced: str | None = None
    accuracy: dict[str, float] = Field(default_factory=dict)
    log_probability: float = Field(0.0, alias="guide")
    divergence: float | None = None
    tasks: dict[str, float] = Field(default_factory=dict)
    tokens: dict[str, float] = Field(default_factory=dict)
    flops_ratio_by: dict[str, float] = Field(default_factory=dict)
    scoring_share: float | None = None
    cost: dict[str, Any] = Field(default_factory=dict)
    prices: dict[str, float] = Field(default_factory=dict)
    samples: int | None = None
    forwards: int = 0
    ran: bool = True

    @property
    def split_cost(self) -> SplitCost | None:
        """The analytic cost on the search split; None where it is not stored whole."""
        if {*self.cost} != _REST:
            return None
        return SplitCost(**self.model_dump(include=_SHOWN), **self.cost)

    def as_attributes(self) -> dict[str, Any]:
        """As it is stored, as user attributes of a trial: what was set, under the names that it is stored with."""
        return {RECORD: self.model_dump(by_alias=True, exclude_unset=True)}


@dataclass(frozen=True)
class TrialRecord:
    """A feasible trial that ran on the whole search split.

    Attributes:
        number: of the trial.
        policy: as it ran.
        origin: who proposed it.
        accuracy: mean over modality groups.
        accuracy_by: modality group -> accuracy.
        flops_ratio: on the search split.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        log_probability: of the right answers, mean over modality groups.
    """

    number: int
    policy: Policy
    origin: str
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float
    tokens: Mapping[str, float]
    log_probability: float


def trial_front(records: list[TrialRecord]) -> list[TrialRecord]:
    """Trials that no other beats in accuracy and FLOPs ratio, cheapest first."""
    return pareto_front(
        records, cost=lambda r: r.flops_ratio, value=lambda r: r.accuracy, tie=lambda r: float(r.number)
    )


_POLICIES: dict[str, Policy] = {}
"""Content hash -> policy that was read: a study is gone over many times in a process."""
_MOST = 32_768
"""Policies that are remembered."""


def stored_policy(stored: StoredTrial, number: int) -> Policy:
    """The policy of a trial.

    Args:
        stored: the trial.
        number: of the trial, for errors.

    Raises:
        PolicyError: it is damaged.
    """
    known = _POLICIES.get(stored.hash)
    if known is None:
        where, given = f"trial {number}", stored.policy
        known = Policy.from_yaml(given, where) if isinstance(given, str) else Policy.from_data(given, where)
        if len(_POLICIES) >= _MOST:
            _POLICIES.clear()
        _POLICIES[stored.hash] = known
    return known


def stored_trials(
    trials: Iterable[optuna.trial.FrozenTrial],
) -> Iterator[tuple[optuna.trial.FrozenTrial, StoredTrial]]:
    """Those of a study's trials that this version of autotc wrote, in order, as Optuna and as autotc keep them."""
    for trial in trials:
        record = trial.user_attrs.get(RECORD, {})
        if "hash" in record:
            yield trial, StoredTrial.model_validate(record)


def trial_records(trials: Iterable[tuple[optuna.trial.FrozenTrial, StoredTrial]]) -> Iterator[TrialRecord]:
    """The feasible trials that ran, each policy once, in order."""
    met: set[str] = set()
    for trial, stored in trials:
        if trial.state.name != "COMPLETE" or any(value > 0 for value in trial.constraints.values()):
            continue
        if stored.hash in met:  # two workers put the same together from known parts
            continue
        met.add(stored.hash)
        accuracy, flops_ratio = trial.values
        yield TrialRecord(
            number=trial.number,
            policy=stored_policy(stored, trial.number),
            origin=stored.origin,
            accuracy=accuracy,
            accuracy_by=stored.accuracy,
            flops_ratio=flops_ratio,
            tokens=stored.tokens,
            log_probability=stored.log_probability,
        )
