"""Whether a space can meet a budget at all: costs are analytic, so that it is known before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from autotc.conflicts.rules import check_rules
from autotc.errors import AutotcError
from autotc.evaluate.base import Evaluator
from autotc.policy import Policy, Stage
from autotc.search.budget import Budget, Costs, single_stage
from autotc.search.errors import SearchError
from autotc.search.seeds import seed_policies
from autotc.search.space import SearchSpace
from autotc.vocabulary import LOCATION_ORDER, Location, Modality

_DEEPEST = 2
"""Stages of the stacks that are gone through; a space that allows more is not refused."""


def check_reach(space: SearchSpace, budget: Budget, costs: Costs, evaluator: Evaluator) -> None:
    """Raise where neither the space's lowest ratios, on all modalities, nor a preset or control meet the budget.

    Spaces whose stages set their own counts are not looked at, since what those cost is measured.

    Raises:
        SearchError: naming what of the budget is missed, and what the space reaches.
    """
    for depth in range(1, _DEEPEST + 1):
        stacks = [_cheapest_stack(space, modality, depth, budget, costs, evaluator) for modality in space.modalities]
        if any(stack is None for stack in stacks):
            return
        policy = Policy.of(stage for stack in stacks if stack is not None for stage in stack)
        cost = costs(policy)
        if budget.met(cost):
            return
    if any(part.max_stages > _DEEPEST for part in space.modalities.values()):
        return
    seeds = seed_policies(space, evaluator.depths, offered_locations(evaluator), costs, budget)
    if any(budget.met(costs(seed)) for _, seed in seeds):
        return
    excess = budget.excess(cost)
    name = max(excess, key=lambda key: excess[key])
    limits = {"flops_ratio": budget.overall, "time_ratio": budget.time, "kv_ratio": budget.kv}
    limits |= {f"flops_ratio/{modality}": limit for modality, limit in budget.by.items()}
    limit = cast(float, limits[name])
    raise SearchError(
        f"budget: no policy of the space meets it; its lowest ratios reach {name} {limit + excess[name]:.3f}, and"
        f" {limit:.3g} is allowed; raise the budget, or lower the space's keep_ratio"
    )


def _cheapest_stack(
    space: SearchSpace, modality: Modality, depth: int, budget: Budget, costs: Costs, evaluator: Evaluator
) -> tuple[Stage, ...] | None:
    """The legal stack of at most so many stages at their lowest ratios that takes the least of the budget.

    None where a stage sets its own count, or nothing can be told.
    """
    best: tuple[Stage, ...] | None = None
    least = float("inf")
    for stack in _lowest_stacks(space, modality, depth):
        policy = Policy(stages=stack)
        if policy.adaptive:
            return None
        try:
            check_rules(policy, evaluator.depths, offered_locations(evaluator))
            used = budget.used(costs(policy))
        except AutotcError:
            continue
        if used < least:
            best, least = stack, used
    return best


def _lowest_stacks(space: SearchSpace, modality: Modality, depth: int) -> Iterator[tuple[Stage, ...]]:
    """Stacks of one modality, each stage at its lowest ratio."""
    part = space.modalities[modality]
    singles = [
        single_stage(modality, choice, layer, round(choice.keep_ratio[0] * 100))
        for choice in part.choices
        for layer in choice.layers or (None,)
    ]
    for first in singles:
        yield (first,)
    if min(depth, part.max_stages) > 1:
        for first in singles:
            for second in singles:
                if LOCATION_ORDER[first.location] < LOCATION_ORDER[second.location]:
                    yield first, second


def offered_locations(evaluator: Evaluator) -> dict[str, list[Location]]:
    """Modality -> locations where stages may act."""
    locations: dict[str, list[Location]] = {}
    for modality, location in evaluator.floors("search"):
        locations.setdefault(modality, []).append(cast(Location, location))
    return locations
