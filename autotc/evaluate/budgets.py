"""Budgets that follow the sample, fitted on samples so that their mean is the keep ratio."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.budgets import AdaptiveBudget
from autotc.errors import PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.mechanisms import item_score
from autotc.policy import Policy, Stage
from autotc.runtime.steps import Observation
from autotc.vocabulary import Group, Location, Modality, Split

SAMPLES = 64
"""Samples of a modality that a budget is fitted on, unless told otherwise."""
_SAID = "budgets follow the item, fitted on"
_PROBE = {"scores": (0.0, 1.0), "centre": 0.5}
"""Numbers of a budget that is yet to be fitted: its stage keeps everything."""


def fit_budgets(
    policy: Policy, evaluator: ObservableEvaluator, *, samples: int = SAMPLES, split: Split = "search"
) -> Policy:
    """A policy whose adaptive budgets are fitted on samples, so that each meets its keep ratio on average.

    Stages are fitted in order, each on what the stages before leave of the samples. What the policy says was measured
    is left out: it was of other budgets.

    Args:
        policy: with adaptive budgets, fitted or not.
        evaluator: model and samples.
        samples: of each modality.
        split: they are taken from.

    Raises:
        PolicyError: the policy has no adaptive budget, does not fit the model, or a score is the same of all samples.
    """
    if all(stage.budget is None for stage in policy.stages):
        raise PolicyError("budget: no stage of the policy has budget: adaptive; there is nothing to fit")
    done: list[Stage] = []
    for stage in policy.stages:
        before = [other for other in done if other.modality == stage.modality]
        done.append(stage if stage.budget is None else _fitted(evaluator, before, stage, samples, split))
    said = (policy.note or "").split(_SAID)[0]
    said += "" if not said or said.endswith("; ") else "; "
    note = f"{said}{_SAID} {samples} samples a modality"
    return policy.model_copy(update={"stages": tuple(done), "measured": None, "note": note})


def fit_budget(
    evaluator: ObservableEvaluator,
    budget: AdaptiveBudget,
    modality: Modality,
    place: tuple[Location, int | None],
    *,
    samples: int = SAMPLES,
    split: Split = "search",
    before: Sequence[Stage] = (),
) -> AdaptiveBudget:
    """A budget fitted to a place of a model.

    Args:
        evaluator: model and samples.
        budget: its score and its spread.
        modality: of the items.
        place: location and layer.
        samples: of the modality to fit on, of every group that holds it in proportion to its size.
        split: they are taken from.
        before: stages of the modality that come before.

    Raises:
        PolicyError: the split holds none of the modality, or the score does not exist at the place or is one of all.
    """
    location, layer = place
    fixed = budget.model_copy(update=_PROBE)
    probe = Stage(modality=modality, location=location, layer=layer, mechanism="random", keep_ratio=1.0, budget=fixed)
    scores: list[float] = []
    tokens: list[float] = []
    policy = Policy(stages=(*before, probe))
    for group, count in _groups(evaluator, modality, samples, split).items():
        share = evaluator.info(split).samples[group] / count

        def look(seen: Observation, share: float = share) -> None:
            if seen.stage == len(before):
                scores.extend(item_score(budget.score, location, seen.tokens, seen.scores).tolist())
                # All that are uncompressed, since the probe keeps everything; of those that stand for the group.
                tokens.extend(n * share for n in seen.requested)

        evaluator.observe(policy, split, group, count, look)
    return budget.fit(scores, tokens)


def _fitted(evaluator: ObservableEvaluator, before: Sequence[Stage], stage: Stage, samples: int, split: Split) -> Stage:
    """A stage with its budget fitted behind the stages before it."""
    assert stage.budget is not None  # asked before
    place = stage.location, stage.steps()[0][0]
    budget = fit_budget(evaluator, stage.budget, stage.modality, place, samples=samples, split=split, before=before)
    return stage.model_copy(update={"budget": budget.model_copy(update={"most": _left(before) if before else None})})


def _left(before: Sequence[Stage]) -> float:
    """What the stages before leave of every item, as a share of its uncompressed tokens."""
    left = 1.0
    for stage in before:
        left = min(left, stage.final_ratio if stage.budget is None else stage.budget.lowest(stage.final_ratio))
    return left


def _groups(evaluator: ObservableEvaluator, modality: Modality, samples: int, split: Split) -> dict[str, int]:
    """How many samples of each group that holds a modality stand for the split: of each in proportion to its size."""
    held = evaluator.info(split).samples
    sizes = {group: size for group, size in held.items() if Group(group).holds(modality)}
    if not sizes:
        raise PolicyError(f"budget: the {split} split holds no {modality} to fit it on; it holds {', '.join(held)}")
    total = sum(sizes.values())
    return {group: min(size, max(1, round(samples * size / total))) for group, size in sizes.items()}
