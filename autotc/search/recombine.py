"""Recombination: the best of each modality, put together under the budget.

A modality's stages alone decide the accuracy on that modality's samples, so a trial tells as much about three
sub-policies as three trials would. What was found for one modality is combined with what was found for the others: a
small knapsack over the fronts of each modality.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from autotc.errors import PolicyError
from autotc.policy import Policy, Stage
from autotc.search.objective import Budget, Costs, bounds, with_ratios
from autotc.search.space import SearchSpace

_WIDEST = 16
"""Sub-policies of a modality that are combined at most."""
_ASKED = 400
"""Combinations whose cost is asked for at most, best first."""
_STEP_LOSS = 0.01
"""Accuracy that a ratio one step lower is taken to lose before it was tried."""
_SLACK = 0.04
"""By how much of the budget the sum of savings may miss it before the exact cost is asked for."""


@dataclass(frozen=True)
class Record:
    """A policy that ran, and its accuracy on each modality group."""

    policy: Policy
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class _Part:
    """Stages of one modality, their accuracy on its samples, and what share of the budget they alone save."""

    stages: tuple[Stage, ...]
    accuracy: float
    saving: float


def recombine(
    records: Sequence[Record],
    uncompressed: Mapping[str, float],
    budget: Budget,
    costs: Costs,
    space: SearchSpace,
    tried: Collection[str],
) -> Policy | None:
    """The untried combination of sub-policies with the highest predicted accuracy within the budget.

    Args:
        records: policies that ran.
        uncompressed: accuracy of the uncompressed model on each modality group.
        budget: what is allowed.
        costs: analytic costs on the search split.
        space: grid of the ratios.
        tried: content hashes not to propose again.

    Returns:
        None where every combination that meets the budget was tried.
    """
    modalities = list(space.modalities)
    everything = [*records, Record(Policy(), uncompressed)]
    whole = budget.used(costs(Policy()))

    def saving(policy: Policy) -> float:
        return whole - budget.used(costs(policy))

    fronts = [_parts(modality, everything, saving, space) for modality in modalities]
    ranked: list[tuple[float, float, tuple[_Part, ...]]] = []
    for combination in product(*fronts):
        cost = whole - sum(part.saving for part in combination)
        # Savings add up but for what modalities attend to each other, so leave the exact cost to be asked below.
        if cost <= 1 + _SLACK:
            predicted = _predict(dict(zip(modalities, combination, strict=True)), uncompressed)
            ranked.append((-predicted, cost, combination))
    ranked.sort(key=lambda row: row[:2])
    asked = 0
    for _, _, combination in ranked:
        policy = Policy.of(stage for part in combination for stage in part.stages)
        if policy.content_hash() in tried:
            continue
        asked += 1
        if asked > _ASKED:
            return None
        if budget.met(costs(policy)):
            return policy
    return None


def _predict(parts: Mapping[str, _Part], uncompressed: Mapping[str, float]) -> float:
    total = 0.0
    for group, base in uncompressed.items():
        held = [name for name in group.split("+") if name in parts]
        change = sum(parts[name].accuracy - _part_accuracy(name, uncompressed) for name in held)
        total += min(1.0, max(0.0, base + change))
    return total / len(uncompressed)


def _part_accuracy(modality: str, accuracy: Mapping[str, float]) -> float:
    if modality in accuracy:
        return accuracy[modality]
    mixed = [value for group, value in accuracy.items() if modality in group.split("+")]
    return sum(mixed) / max(1, len(mixed))


def _lowered(stages: tuple[Stage, ...], space: SearchSpace) -> tuple[Stage, ...] | None:
    """The same stages with the last one's ratios a step lower; None at the lowest."""
    if not stages:
        return None
    low, _, grid = bounds(stages[-1], space)
    ratios = [round(ratio * 100) - grid for _, ratio in stages[-1].steps()]
    return None if min(ratios) < low else (*stages[:-1], with_ratios(stages[-1], ratios))


def _parts(
    modality: str, records: Sequence[Record], saving: Callable[[Policy], float], space: SearchSpace
) -> list[_Part]:
    """The front of one modality's sub-policies, with untried ones a step below its members."""
    known: dict[str, _Part] = {}
    for record in records:
        policy = Policy(stages=record.policy.modality(modality))
        key = policy.content_hash()
        if key not in known:
            accuracy = _part_accuracy(modality, record.accuracy)
            known[key] = _Part(policy.stages, accuracy, saving(policy))
    untried: dict[str, _Part] = {}
    for part in _front(known.values()):
        lower = _lowered(part.stages, space)
        if lower is None:
            continue
        policy = Policy(stages=lower)
        try:
            saved = saving(policy)
        except PolicyError:
            continue
        if policy.content_hash() not in known:
            untried[policy.content_hash()] = _Part(lower, part.accuracy - _STEP_LOSS, saved)
    return _front([*known.values(), *untried.values()])


def _front(parts: Iterable[_Part]) -> list[_Part]:
    """Parts that no other beats in both accuracy and saving, cheapest first; evenly thinned to the widest allowed."""
    front: list[_Part] = []
    for part in sorted(parts, key=lambda p: (-p.saving, -p.accuracy)):
        if not front or part.accuracy > front[-1].accuracy:
            front.append(part)
    if len(front) > _WIDEST:
        front = [front[round(i * (len(front) - 1) / (_WIDEST - 1))] for i in range(_WIDEST)]
    return front
