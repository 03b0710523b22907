"""``autotc conflicts``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, space_file
from autotc.cli.options import (
    MODALITY_NAMES,
    add_evaluator_options,
    add_runs_option,
    add_split_option,
    add_split_seed_option,
    add_tracking_option,
    from_one,
    keep_pairs,
    names,
)
from autotc.cli.output import Output, files_written
from autotc.errors import DataError, PolicyError

if TYPE_CHECKING:
    from autotc.conflicts.pairs import Pair, Place
    from autotc.evaluate.model import ModelEvaluator
    from autotc.search.space import SearchSpace
    from autotc.vocabulary import Modality


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--pairs",
        type=names,
        metavar="A@PLACE+B@PLACE,...",
        help="to measure, with a layer in brackets where it is not the middle block of a tower or decoder layer 2, e.g."
        " 'fastv@decoder[3]' (default: pairs of eight stages of every family)",
    )
    parser.add_argument(
        "--space", metavar="FILE", help="all pairs of a search space, a file or the name of a shipped one"
    )
    parser.add_argument("--modality", choices=MODALITY_NAMES, action="append", help="to measure on (default: all)")
    parser.add_argument(
        "--keep",
        type=keep_pairs,
        metavar="R:R,...",
        help="keep ratios of the first and the second stage, of the uncompressed count (default: 0.5:0.25)",
    )
    parser.add_argument(
        "--samples", type=from_one, default=16, metavar="N", help="calibration samples of predictions (default: 16)"
    )
    parser.add_argument("--name", metavar="NAME", help="folder in --runs/conflicts; what is there does not run again")
    add_split_option(parser)
    add_split_seed_option(parser)
    add_tracking_option(parser)
    add_runs_option(parser)
    add_evaluator_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Predict and measure what stacks of two stages gain or lose."""
    from autotc.conflicts.interaction import measure
    from autotc.report.tables import ProgressBar

    if args.pairs is not None and args.space is not None:
        raise PolicyError("--space: given with --pairs; one of the two says which pairs are measured")
    space = None
    if args.space is not None:
        from autotc.search.space import SearchSpace

        space = SearchSpace.load(space_file(args.space))  # a wrong file is told before the model is loaded
    evaluator = evaluator_of(args, args.split_seed)
    pairs = _pairs(args, evaluator, space)
    with ProgressBar("conflicts") as progress:
        conflicts = measure(
            evaluator,
            pairs,
            split=args.split,
            limit=args.limit,
            samples=args.samples,
            runs=args.runs,
            name=args.name or ("default" if args.limit is None else f"first-{args.limit}"),
            mlflow_uri=args.tracking_uri,
            progress=progress,
        )
    return Output(conflicts.to_json(), conflicts.text() + "\n\n" + files_written(conflicts.files))


def _pairs(args: argparse.Namespace, evaluator: ModelEvaluator, space: SearchSpace | None) -> list[Pair]:
    """The pairs that were asked for: named, those of a space, or the usual ones."""
    from autotc.conflicts.pairs import Pair, default_places, legal_pairs, parse_pairs
    from autotc.vocabulary import MODALITIES

    held = evaluator.info(args.split).samples
    modalities = [m for m in MODALITIES if m in held and m in (args.modality or MODALITIES)]
    if not modalities:
        raise DataError(f"--modality: {args.split} holds no samples with one modality alone of what was asked for")
    keeps = args.keep or [(0.5, 0.25)]
    if args.pairs is not None:
        named = parse_pairs(args.pairs, evaluator.depths)
        return [
            Pair(first, second, modality, keep)
            for modality in modalities
            for first, second in named
            for keep in keeps
            if first.takes(modality) and second.takes(modality)
        ]
    if space is not None:
        return [p for m in modalities for p in legal_pairs(evaluator, _space_places(space, m), [m], keeps)]
    return list(legal_pairs(evaluator, default_places(evaluator.depths), modalities, keeps))


def _space_places(space: SearchSpace, modality: Modality) -> list[Place]:
    """The choices of a space on a modality, each at the middle one of its layers."""
    from autotc.conflicts.pairs import Place

    choices = space.modalities[modality].choices if modality in space.modalities else ()
    return [
        Place(c.mechanism, c.location, sorted(c.layers)[len(c.layers) // 2] if c.layers else None, c.params)
        for c in choices
    ]


COMMAND = Command(
    name="conflicts",
    function="conflicts",
    summary="predict and measure what stacks of two stages gain or lose",
    examples=(
        "autotc conflicts --pairs divprune@projector+fastv@decoder,tome@encoder+cdpruner@projector --modality image",
    ),
    add_arguments=add_arguments,
    run=run,
)
