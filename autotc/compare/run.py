"""`autotc.compare`: measure presets on equal terms, or one mechanism at every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from autotc.compare.candidates import chosen_presets, location_candidates, preset_candidates
from autotc.compare.measure import Measurements
from autotc.compare.record import log, write_files
from autotc.compare.settings import By, CompareOptions, CompareSettings, Presets
from autotc.errors import PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.mechanisms import build_mechanism
from autotc.progress import Progress
from autotc.records.comparison import Comparison, Match


def compare(
    evaluator: ObservableEvaluator | None = None,
    presets: Presets = "all",
    *,
    by: By = "preset",
    progress: Progress | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Measure presets on the same samples, or one mechanism at every place where it can stand.

    Presets are matched by mean language-model tokens and by cost: a preset's ratios are raised to one exponent until
    the target is met on the modality's samples. Each modality is compressed and measured alone; random selection is
    always measured, since every row is compared with it. Tables and figures are written to ``runs/name``; what is there
    already is not measured again.

    Args:
        evaluator: model and samples; None takes the embedded model and its benchmark.
        presets: names, or ``all``.
        by: ``preset``, or ``location`` for one mechanism at encoder blocks, projector and decoder layers; at the input,
            where there are no tokens yet, ``downsample`` stands for it.
        progress: called after each policy.
        options: fields of `CompareSettings`: targets, samples, where everything is kept.

    Raises:
        PolicyError: a preset or the mechanism is unknown.
        DataError: ``runs/name`` holds a comparison of something else.

    Example:
        >>> comparison = autotc.compare(presets=["divprune", "fastv"], tokens=[0.25], limit=50)  # doctest: +SKIP
        >>> comparison.to_pandas().sort_values("accuracy")  # doctest: +SKIP
    """
    settings = CompareSettings(**options)
    if by not in ("preset", "location"):
        raise PolicyError(f"by: {by!r} given; preset or location is right")
    check_names(presets, by, settings.mechanism)
    chosen = chosen_presets(presets)
    evaluator = BuiltinEvaluator() if evaluator is None else evaluator
    usual = "compare" if by == "preset" else f"locations-{settings.mechanism}"
    folder = Path(settings.runs) / (settings.name or usual)
    stamp: dict[str, Any] = {"by": by} if by == "preset" else {"by": by, "mechanism": settings.mechanism}
    measurements = Measurements(evaluator, settings.split, settings.limit, folder, stamp)
    if by == "preset":
        tokens, costs = settings.targets()
        targets: list[tuple[Match, float]] = [*(("tokens", t) for t in tokens), *(("cost", c) for c in costs)]
        candidates, skipped = preset_candidates(evaluator, chosen, targets, measurements.modalities, settings.split)
    else:
        candidates, skipped = location_candidates(
            evaluator, settings.mechanism, settings.keeps, measurements.modalities
        )
    rows = tuple(measurements.rows(candidates, progress))
    comparison = Comparison(folder, settings.split, rows, measurements.uncompressed(), tuple(skipped))
    comparison = write_files(comparison)
    if settings.mlflow:
        log(evaluator, settings, candidates, comparison)
    return comparison


def check_names(presets: Presets, by: By, mechanism: str) -> None:
    """See that presets and mechanism are known, before a model is loaded.

    Raises:
        PolicyError: one is unknown.
    """
    chosen_presets(presets)
    if by == "location":
        build_mechanism(mechanism)
