"""Measure pairs: what a stack gains or loses against the better of its two stages at the same cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotc.conflicts.equal_cost import StageAtCost, flops_ratio, stage_at_cost
from autotc.conflicts.predicted import ConflictPredictor
from autotc.errors import MechanismError, PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.store import ResultStore
from autotc.interactions.estimate import additive, interaction
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.records.interaction import Interaction, InteractionRow, Pair, SkippedPair, points
from autotc.results import Results
from autotc.statistics import Array
from autotc.vocabulary import Split


def open_store(evaluator: ObservableEvaluator, split: Split, limit: int | None, folder: Path) -> ResultStore:
    """The store of a folder, for this model and these samples.

    Raises:
        DataError: the folder holds results of something else.
    """
    store = ResultStore(folder, evaluator.stamp(split), {"split": split, "limit": limit})
    store.open()
    return store


def alternatives(evaluator: ObservableEvaluator, pair: Pair, split: Split) -> tuple[float, dict[str, StageAtCost]]:
    """FLOPs ratio of a pair's stack, and each stage alone moved onto it."""
    target = flops_ratio(evaluator, pair.stack(), split, pair.modality)
    named = zip(("first", "second"), pair.stages(), strict=True)
    return target, {name: stage_at_cost(evaluator, stage, target, split) for name, stage in named}


def measure_pair(
    evaluator: ObservableEvaluator, store: ResultStore, pair: Pair, split: Split, limit: int | None
) -> Interaction:
    """Measure one pair; what the store knows does not run again.

    Raises:
        PolicyError: the stack does not fit the model, or neither stage can cost as little as the stack.
    """

    def results_of(policy: Policy) -> Results:
        return store.results(
            f"{pair.modality}-{policy.content_hash()}",
            lambda: evaluator.run(policy, split, limit=limit, groups=[pair.modality]),
        )

    def scores(policy: Policy) -> Array:
        """(n,) of the modality's samples."""
        return results_of(policy).groups("modality")[pair.modality]

    target, alone = alternatives(evaluator, pair, split)
    reached = tuple(name for name, at_cost in alone.items() if at_cost.reached)
    if not reached:
        raise PolicyError(f"{pair.label}: neither stage alone can cost as little as the stack, {target:.3f}")
    stack, none = scores(pair.stack()), scores(UNCOMPRESSED)
    clusters = results_of(UNCOMPRESSED).clusters("modality")[pair.modality]
    at_cost = {name: scores(alone[name].policy) for name in reached}
    first, second = (scores(Policy(stages=(stage,))) for stage in pair.stages())
    return Interaction(
        pair=pair,
        interaction=interaction(stack, list(at_cost.values()), clusters),
        additive=additive(stack, first, second, none, clusters),
        accuracy={
            "stack": float(stack.mean()),
            **{name: float(values.mean()) for name, values in at_cost.items()},
            "first_own": float(first.mean()),
            "second_own": float(second.mean()),
            "none": float(none.mean()),
        },
        flops_ratio={"stack": target, **{name: moved.flops_ratio for name, moved in alone.items()}},
        reached=reached,
        ratios={name: moved.policy.stages[0].final_ratio for name, moved in alone.items()},
        samples=len(stack),
    )


def measure_pairs(
    predictor: ConflictPredictor,
    store: ResultStore,
    pairs: Sequence[Pair],
    split: Split,
    limit: int | None,
    progress: Progress | None = None,
) -> tuple[list[InteractionRow], list[SkippedPair]]:
    """Predict and measure pairs.

    Args:
        predictor: of the evaluator that measures.
        store: of what was measured before.
        pairs: in order.
        split, limit: samples that interactions are measured on.
        progress: called after each pair.

    Returns:
        Rows of the pairs that were measured, and the others with the reason.
    """
    evaluator = predictor.calibration.evaluator
    rows: list[InteractionRow] = []
    skipped: list[SkippedPair] = []
    for number, pair in enumerate(pairs, 1):
        try:
            prediction = predictor.predict(pair.stack())
            row = InteractionRow(measure_pair(evaluator, store, pair, split, limit), prediction)
        except (PolicyError, MechanismError) as error:
            skipped.append(SkippedPair(pair.label, str(error)))
            shown = str(error)
        else:
            rows.append(row)
            shown = points(row.measured.interaction)
        if progress is not None:
            progress(number, len(pairs), f"{pair.label}: {shown}")
    return rows, skipped
