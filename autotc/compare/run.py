"""`autotc.compare`: measure presets on equal terms, or one mechanism at every place."""

from __future__ import annotations

from typing import Unpack, get_args

from autotc.compare.candidates import chosen_presets, location_candidates, preset_candidates
from autotc.compare.measure import Measurements
from autotc.compare.record import log, write_files
from autotc.compare.settings import By, CompareOptions, CompareSettings, Presets
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.mechanisms import build_mechanism
from autotc.progress import Progress
from autotc.ranges import check_choice
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
    check_request(presets, by, settings)
    evaluator = embedded_evaluator() if evaluator is None else evaluator
    folder = settings.folder(by)
    compared: dict[str, str] = {"by": by} if by == "preset" else {"by": by, "mechanism": settings.mechanism}
    measurements = Measurements(evaluator, settings.split, settings.limit, folder, compared)
    if by == "preset":
        tokens, costs = settings.targets()
        targets: list[tuple[Match, float]] = [*(("tokens", t) for t in tokens), *(("cost", c) for c in costs)]
        candidates, skipped = preset_candidates(
            evaluator, chosen_presets(presets), targets, measurements.modalities, settings.split
        )
    else:
        candidates, skipped = location_candidates(
            evaluator, settings.mechanism, settings.keeps, measurements.modalities
        )
    uncompressed = measurements.uncompressed()
    measured, failed = measurements.rows(candidates, progress)
    rows = tuple(row for _, row in measured)
    comparison = Comparison(folder, settings.split, rows, uncompressed, (*skipped, *failed))
    comparison = write_files(comparison)
    if settings.mlflow:
        log(evaluator, settings, [candidate for candidate, _ in measured], comparison)
    return comparison


def check_request(presets: Presets, by: By, settings: CompareSettings) -> None:
    """See that a comparison can be made and written, before a model is loaded.

    Raises:
        PolicyError: a preset or the mechanism is unknown.
        DataError: ``by`` is neither of its words, the folder cannot be written to, or MLflow takes no such address.
    """
    check_choice(by, "by", get_args(By))
    chosen_presets(presets)
    if by == "location":
        build_mechanism(settings.mechanism)
    settings.check_destination(settings.folder(by))
