"""``autotc compare``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of
from autotc.cli.options import (
    add_evaluator_options,
    add_runs_option,
    add_split_option,
    add_split_seed_option,
    add_tracking_option,
    names_or_all,
    ratios,
)
from autotc.cli.output import Output, files_written
from autotc.report.progress import LOADING_MODEL, ProgressBar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--presets", type=names_or_all, default="all", metavar="NAMES", help="all (default), or names by commas"
    )
    parser.add_argument(
        "--tokens",
        type=ratios,
        metavar="R,...",
        help="equal mean language-model tokens, relative to uncompressed (default: 0.5,0.25,0.1)",
    )
    parser.add_argument("--cost", type=ratios, metavar="R,...", help="equal FLOPs ratios (default: 0.75,0.5)")
    parser.add_argument("--by", choices=("preset", "location"), default="preset", help="what differs (default: preset)")
    parser.add_argument(
        "--mechanism", default="divprune", metavar="NAME", help="with --by location (default: divprune)"
    )
    parser.add_argument("--keeps", type=ratios, metavar="R,...", help="with --by location: keep ratios")
    parser.add_argument("--name", metavar="NAME", help="folder in --runs; what is there is not measured again")
    add_split_option(parser)
    add_split_seed_option(parser)
    add_tracking_option(parser)
    add_runs_option(parser)
    add_evaluator_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Measure presets on equal terms, or one mechanism at every place."""
    from autotc.compare import KEEPS, CompareOptions, CompareSettings, check_request
    from autotc.report.comparison import comparison_text

    options: CompareOptions = {
        "tokens": args.tokens,
        "costs": args.cost,
        "mechanism": args.mechanism,
        "keeps": args.keeps or KEEPS,
        "split": args.split,
        "limit": args.limit,
        "runs": args.runs,
        "name": args.name,
        "tracking_uri": args.tracking_uri,
    }
    # What is wrong is told before the model is loaded.
    check_request(args.presets, args.by, CompareSettings(**options))
    with ProgressBar("compare") as progress:
        progress.phase(LOADING_MODEL, quiet=True)
        evaluator = evaluator_of(args, args.split_seed)
        progress.phase("finding keep ratios of equal cost, and measuring the uncompressed model", quiet=True)
        progress.steps()
        comparison = autotc.compare(evaluator, args.presets, by=args.by, progress=progress, **options)
    written = files_written(comparison.files)
    return Output(comparison.to_json(), lambda: f"{comparison_text(comparison, markdown=False)}\n{written}")


COMMAND = Command(
    name="compare",
    function="compare",
    summary="measure presets on equal terms, or one mechanism at every place",
    examples=(
        "autotc compare --presets divprune,fastv,visionzip --tokens 0.25",
        "autotc compare --by location --limit 100",
    ),
    add_arguments=add_arguments,
    run=run,
)
