"""Outcomes as a study stores them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING

from autotc.policy import Policy
from autotc.results import Results
from autotc.search.budget import Costs
from autotc.search.outcome import Failed, Outcome, Raced, Ran, Refused
from autotc.search.result import FrontRow
from autotc.search.trials import NOT_STORED, State, StoredTrial, TrialRecord
from autotc.statistics import Interval

if TYPE_CHECKING:
    import optuna


def stored_trial(
    outcome: Ran | Raced | Refused | Failed,
    *,
    forwards: int,
    calibration_forwards: int = 0,
    prices: Mapping[str, float] = MappingProxyType({}),
) -> StoredTrial:
    """An outcome as it is stored.

    Args:
        outcome: of a proposal.
        forwards: samples that were run for it, which were not known from policies with the same stages.
        calibration_forwards: samples that were run for it to predict conflicts.
        prices: see `StoredTrial`.
    """
    policy = outcome.policy
    values: dict[str, object] = {
        "hash": policy.content_hash(),
        "origin": outcome.origin,
        "policy": policy.to_data(),
        **({"watched": calibration_forwards} if calibration_forwards else {}),
    }
    match outcome:
        case Refused():
            values.update(refused=outcome.rule, reason=outcome.reason)
        case Failed():
            values["error"] = outcome.reason
        case Raced():
            values.update(_measurements(outcome), raced=outcome.reason, forwards=forwards, prices=dict(prices))
        case Ran():
            values.update(_measurements(outcome), ran=forwards > 0, forwards=forwards, prices=dict(prices))
    return StoredTrial.model_validate(values)


def trial_state(outcome: Ran | Raced | Refused | Failed) -> State:
    """State in which the trial of an outcome is stored."""
    match outcome:
        case Ran():
            return "COMPLETE"
        case Failed():
            return "FAIL"
        case _:
            return "PRUNED"


def trial_record(number: int, outcome: Ran, stored: StoredTrial) -> TrialRecord:
    """A trial that ran on the whole split, by its number."""
    return TrialRecord(
        number=number,
        policy=outcome.policy,
        origin=outcome.origin,
        accuracy=outcome.results.mean(),
        accuracy_by=stored.accuracy,
        flops_ratio=outcome.cost.flops_ratio,
        tokens=stored.tokens,
        log_probability=stored.log_probability,
    )


def told(outcome: Ran | Raced | Refused | Failed) -> dict[str, object]:
    """What is to be known of an outcome, for a log."""
    known: dict[str, object] = {"origin": outcome.origin, "policy": outcome.policy.label()}
    match outcome:
        case Refused():
            return {**known, "rule": outcome.rule, "reason": outcome.reason}
        case Failed():
            return {**known, "reason": outcome.reason}
        case _:
            measured = {"accuracy": outcome.results.mean(), "flops_ratio": outcome.cost.flops_ratio}
            return {**known, **measured, "samples": len(outcome.results)}


def running_row(record: TrialRecord) -> FrontRow:
    """A trial as the running front shows it: means without intervals."""
    return FrontRow(
        policy="",
        label=record.policy.label(),
        accuracy=record.accuracy,
        accuracy_by={key: Interval(value, value, value) for key, value in record.accuracy_by.items()},
        flops_ratio=record.flops_ratio,
        trial=record.number,
        tokens=record.tokens,
    )


def restored_outcome(
    trial: optuna.trial.FrozenTrial, stored: StoredTrial, policy: Policy, results: Results | None, costs: Costs
) -> Outcome | None:
    """The outcome that a stored trial tells of; None where it ran and its results are gone.

    Args:
        trial, stored: as Optuna and as autotc keep it.
        policy: of the trial.
        results: per-sample, where they are kept.
        costs: of policies.
    """
    constraints = dict(trial.constraints)
    if stored.refused is not None and not any(value > 0 for value in constraints.values()):
        constraints = {"rule": 1.0}  # it was stored as what keeps within the budget, and refused as it was to run
    if trial.state.name == "FAIL":
        return Failed(stored.origin, policy, stored.error or "")
    if stored.refused is not None:
        return Refused(stored.origin, policy, stored.refused, stored.reason or "", constraints)
    if results is None:
        return None
    cost = costs(policy)
    if stored.raced is not None:
        return Raced(stored.origin, policy, constraints, results, cost, stored.audited, reason=stored.raced)
    return Ran(stored.origin, policy, constraints, results, cost, stored.audited)


def _measurements(outcome: Ran | Raced) -> dict[str, object]:
    """What is stored of a trial that ran."""
    results, cost = outcome.results, {k: v for k, v in asdict(outcome.cost).items() if k not in NOT_STORED}
    return {
        **({"audited": True} if outcome.audited else {}),
        "accuracy": {key: float(groups.mean()) for key, groups in results.groups("modality").items()},
        "guide": results.mean_log_probability(),
        "divergence": results.divergence(),
        "tasks": {key: float(groups.mean()) for key, groups in results.groups("task").items()},
        **{name: cost.pop(name) for name in ("tokens", "flops_ratio_by", "scoring_share")},
        "cost": cost,
        "samples": len(results),
    }
