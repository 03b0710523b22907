"""`autotc.conflicts`: predict and measure what stacks of two stages gain or lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from autotc.conflicts.predicted import ConflictPredictor
from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.interactions.measure import measure_pairs, open_store
from autotc.interactions.pairs import check_pair, default_placements, legal_pairs, parse_pairs, space_placements
from autotc.interactions.record import log, write_files
from autotc.interactions.settings import ConflictsOptions, ConflictsSettings
from autotc.progress import Progress
from autotc.records.interaction import Conflicts, Pair
from autotc.search.space import SearchSpace
from autotc.vocabulary import MODALITIES, Modality


def conflicts(
    evaluator: ObservableEvaluator | None = None,
    pairs: Sequence[str | Pair] | None = None,
    *,
    space: SearchSpace | None = None,
    progress: Progress | None = None,
    **options: Unpack[ConflictsOptions],
) -> Conflicts:
    """Predict and measure the interactions of pairs of stages.

    A stack's interaction is its accuracy less that of the better of its two stages alone at the stack's cost. JSON,
    table and figures are written to ``runs/conflicts/name``; what is there already does not run again.

    Args:
        evaluator: model and samples; None takes the embedded model and its benchmark.
        pairs: ``mechanism@location+mechanism@location``, with a layer in brackets where it is not the middle block of a
            tower or decoder layer 2; None takes pairs of eight stages of every family, or those of the space.
        space: a search space whose legal pairs are measured, each mechanism at the middle one of its layers.
        progress: called after each pair.
        options: fields of `ConflictsSettings`: modalities, keep ratios, samples, where everything is kept.

    Raises:
        DataError: the folder holds results of something else, or no samples hold one modality alone.
        PolicyError: there is no pair, one is written wrong, or a rule refuses one.

    Example:
        >>> measured = autotc.conflicts(pairs=["divprune@projector+fastv@decoder"], limit=50)  # doctest: +SKIP
        >>> measured.ranked()[0].words()  # doctest: +SKIP
    """
    settings = ConflictsSettings(**options)
    check_request(pairs, space, settings)
    evaluator = embedded_evaluator() if evaluator is None else evaluator
    modalities = _modalities(evaluator, settings)
    chosen = _chosen_pairs(evaluator, pairs, space, modalities, settings)
    if not chosen:
        raise PolicyError("pairs: none is left to measure; give stages that take the modality and stack legally")
    for pair in chosen:
        check_pair(evaluator, pair)
    store = open_store(evaluator, settings.split, settings.limit, settings.folder)
    predictor = ConflictPredictor(evaluator, settings.samples)
    rows, skipped = measure_pairs(predictor, store, chosen, settings.split, settings.limit, progress)
    measured = Conflicts(settings.folder, tuple(rows), tuple(skipped))
    measured = write_files(measured, predictor.calibration)
    if settings.mlflow:
        log(evaluator, settings, measured)
    return measured


def check_request(pairs: Sequence[str | Pair] | None, space: object, settings: ConflictsSettings) -> None:
    """See that pairs can be measured and written, before a model is loaded.

    Raises:
        PolicyError: both pairs and a space are given.
        DataError: the folder cannot be written to, or MLflow takes no such address.
    """
    if pairs is not None and space is not None:
        raise PolicyError("--space: given with --pairs; one of the two says which pairs are measured")
    settings.check_destination(settings.folder)


def _modalities(evaluator: ObservableEvaluator, settings: ConflictsSettings) -> list[Modality]:
    """Those asked for of which the split holds samples by themselves."""
    groups = evaluator.info(settings.split).samples
    modalities = [m for m in MODALITIES if m in groups and m in (settings.modalities or MODALITIES)]
    if not modalities:
        raise DataError(f"--modality: {settings.split} holds no samples with one modality alone of what was asked for")
    return modalities


def _chosen_pairs(
    evaluator: ObservableEvaluator,
    pairs: Sequence[str | Pair] | None,
    space: SearchSpace | None,
    modalities: Sequence[Modality],
    settings: ConflictsSettings,
) -> list[Pair]:
    """The pairs that were named, or the legal ones of a space or of the default placements."""
    if pairs is None:
        out: list[Pair] = []
        for modality in modalities:
            placements = default_placements(evaluator.depths) if space is None else space_placements(space, modality)
            out += legal_pairs(evaluator, placements, [modality], settings.keeps)
        return out
    named = parse_pairs([pair for pair in pairs if isinstance(pair, str)], evaluator.depths)
    written = [
        Pair(first, second, modality, keep)
        for modality in modalities
        for first, second in named
        for keep in settings.keeps
        if first.takes(modality) and second.takes(modality)
    ]
    return written + [pair for pair in pairs if isinstance(pair, Pair)]
