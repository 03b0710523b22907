"""Combination: the best of each modality, put together under the budget.

A modality's stages alone decide the accuracy on that modality's samples, so what was found for one modality is combined
with what was found for the others: a small knapsack over the fronts of each modality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from autotc.errors import PolicyError
from autotc.pareto import pareto_front
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.search.budget import Budget, bounds, with_ratios
from autotc.search.engine import Engine
from autotc.search.space import SearchSpace
from autotc.vocabulary import Group

_WIDEST = 16
"""Sub-policies of a modality that are combined at most."""
_ASKED = 400
"""Combinations whose cost is asked for at most, best first."""
_STEP_LOSS = 0.01
"""Accuracy that a ratio one step lower is taken to lose before it was tried."""
_SLACK = 0.04
"""By how much of the budget the sum of savings may miss it before the exact cost is asked for."""


@dataclass(frozen=True)
class Part:
    """Stages of one modality, their accuracy on its samples, and what share of the budget they alone save."""

    stages: tuple[Stage, ...]
    accuracy: float
    saving: float


def saver(engine: Engine, budget: Budget) -> Callable[[Policy], float]:
    """What a policy saves, as a share of the budget."""
    whole = budget.used(engine.costs(UNCOMPRESSED))
    return lambda policy: whole - budget.used(engine.costs(policy))


def known_parts(engine: Engine, modality: str, saving: Callable[[Policy], float]) -> dict[str, Part]:
    """The sub-policies of a modality that saw the whole split, by content hash.

    Where the data has no samples of the modality alone, a part is as accurate as the best policy that it was seen in.
    """
    out: dict[str, Part] = {}
    for entry in engine.archive.entries(engine.main_group(modality)):
        policy = Policy(stages=entry.policy.modality(modality))
        key = policy.content_hash()
        if key not in out:
            out[key] = Part(policy.stages, entry.accuracy, saving(policy))
        elif entry.accuracy > out[key].accuracy:
            out[key] = Part(policy.stages, entry.accuracy, out[key].saving)
    return out


def combine(
    engine: Engine,
    budget: Budget,
    *,
    fixed: Mapping[str, tuple[Stage, ...]] | None = None,
    lowered: bool = True,
) -> Policy | None:
    """The untried combination of sub-policies with the highest predicted accuracy within a budget.

    Args:
        engine: what is known.
        budget: what is allowed.
        fixed: modality -> stages that it gets, whatever is known of them.
        lowered: whether untried sub-policies, one step of the grid below those of a front, take part.

    Returns:
        None where every combination that meets the budget was tried.
    """
    modalities = list(engine.space.modalities)
    saving = saver(engine, budget)
    parts: list[list[Part]] = []
    for modality in modalities:
        if fixed is not None and modality in fixed:
            stages = fixed[modality]
            parts.append([Part(stages, 0.0, saving(Policy(stages=stages)))])
            continue
        known = known_parts(engine, modality, saving)
        more = _below(known, saving, engine.space) if lowered else {}
        parts.append(_front(part for part in [*known.values(), *more.values()] if _allowed(engine, modality, part)))
    whole = budget.used(engine.costs(UNCOMPRESSED))
    ranked: list[tuple[float, float, tuple[Part, ...]]] = []
    for combination in product(*parts):
        cost = whole - sum(part.saving for part in combination)
        # Savings add up but for what modalities attend to each other, so leave the exact cost to be asked below.
        if cost <= 1 + _SLACK:
            predicted = _predict(engine, dict(zip(modalities, combination, strict=True)))
            ranked.append((-predicted, cost, combination))
    ranked.sort(key=lambda row: row[:2])
    asked = 0
    for _, _, combination in ranked:
        policy = Policy.of(stage for part in combination for stage in part.stages)
        if policy.content_hash() in engine.tried:
            continue
        asked += 1
        if asked > _ASKED:
            return None
        if budget.met(engine.costs(policy)):
            return policy
    return None


def _allowed(engine: Engine, modality: str, part: Part) -> bool:
    """Whether a part keeps within the budget of its own modality, where there is one."""
    own = engine.budget.by.get(modality)
    if own is None:
        return True
    return engine.costs(Policy(stages=part.stages), group=engine.main_group(modality)).flops_ratio <= own


def _predict(engine: Engine, parts: Mapping[str, Part]) -> float:
    total = 0.0
    for group, base in engine.uncompressed.items():
        change = 0.0
        for name in Group(group).modalities:
            if name in parts:
                change += parts[name].accuracy - engine.uncompressed[engine.main_group(name)]
        total += min(1.0, max(0.0, base + change))
    return total / len(engine.uncompressed)


def _lowered(stages: tuple[Stage, ...], space: SearchSpace) -> tuple[Stage, ...] | None:
    """The same stages with the last one's ratios a step lower; None at the lowest."""
    if not stages:
        return None
    low, _, grid = bounds(stages[-1], space)
    ratios = [round(ratio * 100) - grid for _, ratio in stages[-1].steps()]
    return None if min(ratios) < low else (*stages[:-1], with_ratios(stages[-1], ratios))


def _below(known: Mapping[str, Part], saving: Callable[[Policy], float], space: SearchSpace) -> dict[str, Part]:
    """Untried sub-policies a step below the members of a front."""
    untried: dict[str, Part] = {}
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
            untried[policy.content_hash()] = Part(lower, part.accuracy - _STEP_LOSS, saved)
    return untried


def _front(parts: Iterable[Part]) -> list[Part]:
    """Parts that no other beats in both accuracy and saving, cheapest first; evenly thinned to the widest allowed."""
    front = pareto_front(parts, cost=lambda part: -part.saving, value=lambda part: part.accuracy)
    if len(front) > _WIDEST:
        front = [front[round(i * (len(front) - 1) / (_WIDEST - 1))] for i in range(_WIDEST)]
    return front
