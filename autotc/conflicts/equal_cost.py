"""One stage of a stack alone, with its ratios moved until it costs what the stack costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from autotc.evaluate.base import ObservableEvaluator
from autotc.policy import Policy, Stage
from autotc.solve import last_step
from autotc.vocabulary import Split

_GRID = 1000
"""Keep ratios of a stage that is moved onto a cost are of this resolution."""


@dataclass(frozen=True)
class StageAtCost:
    """A stage alone, moved onto a cost.

    Attributes:
        policy: the stage alone.
        flops_ratio: its cost, of the modality's samples.
        reached: whether it can cost as little as was asked for; where it cannot, it is at its floor.
    """

    policy: Policy
    flops_ratio: float
    reached: bool


def flops_ratio(evaluator: ObservableEvaluator, policy: Policy, split: Split, group: str) -> float:
    """FLOPs ratio of a policy over the samples of one modality group."""
    return evaluator.cost(policy, split, groups=[group]).flops_ratio_by[group]


def with_final_ratio(stage: Stage, ratio: float) -> Stage:
    """A stage with its last keep ratio replaced, and those before it by the same factor, none above 1."""
    steps = stage.steps()
    factor = ratio / steps[-1][1]
    if stage.layers is None:
        return stage.model_copy(update={"keep_ratio": ratio})
    ratios = [max(ratio, min(1.0, round(earlier * factor, 3))) for _, earlier in steps]
    return stage.model_copy(update={"layers": dict(zip(sorted(stage.layers), ratios, strict=True))})


def stage_at_cost(
    evaluator: ObservableEvaluator, stage: Stage, target: float, split: Split, group: str | None = None
) -> StageAtCost:
    """A stage alone, with its ratios moved so that its cost comes as near to a target as its counts of tokens allow.

    Args:
        evaluator, split, group: what costs are of; by default the samples with the stage's modality alone.
        stage: to move; its count must not be its own choice.
        target: FLOPs ratio.
    """

    @cache
    def at(step: int) -> tuple[Policy, float]:
        policy = Policy(stages=(with_final_ratio(stage, step / _GRID),))
        return policy, flops_ratio(evaluator, policy, split, group or stage.modality)

    floor, uncompressed = at(1), at(_GRID)
    if floor[1] > target:
        return StageAtCost(*floor, reached=False)
    if uncompressed[1] <= target:
        return StageAtCost(*uncompressed, reached=True)
    # Costs rise with ratios in steps of one token; the two ratios lie on both sides of one.
    below = last_step(1, _GRID, lambda step: at(step)[1] <= target)
    nearest = min(at(below), at(below + 1), key=lambda candidate: abs(candidate[1] - target))
    return StageAtCost(*nearest, reached=True)
