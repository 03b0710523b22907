"""``autotc conflicts``."""

from __future__ import annotations

import argparse

import autotc
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
from autotc.report.progress import LOADING_MODEL, ProgressBar


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
    from autotc.interactions import ConflictsOptions, ConflictsSettings, check_request
    from autotc.report.conflicts import conflicts_text

    options: ConflictsOptions = {
        "modalities": args.modality,
        "keeps": args.keep or ConflictsSettings.keeps,
        "samples": args.samples,
        "split": args.split,
        "limit": args.limit,
        "runs": args.runs,
        "name": args.name,
        "tracking_uri": args.tracking_uri,
    }
    # What is wrong is told before the model is loaded.
    check_request(args.pairs, args.space, ConflictsSettings(**options))
    space = None
    if args.space is not None:
        from autotc.search.space import SearchSpace

        space = SearchSpace.load(space_file(args.space))
    with ProgressBar("conflicts") as progress:
        progress.phase(LOADING_MODEL, quiet=True)
        evaluator = evaluator_of(args, args.split_seed)
        progress.phase("reading the calibration samples, and measuring the first pair", quiet=True)
        progress.steps()
        measured = autotc.conflicts(evaluator, args.pairs, space=space, progress=progress, **options)
    written = files_written(measured.files)
    return Output(measured.to_json(), lambda: f"{conflicts_text(measured)}\n\n{written}")


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
