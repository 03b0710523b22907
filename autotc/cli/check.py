"""``autotc check``."""

from __future__ import annotations

import argparse
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, policy_of, warn_untouched
from autotc.cli.options import accuracy_fall, add_engine_options, add_evaluator_options
from autotc.cli.output import Output
from autotc.report.check import check_text
from autotc.report.progress import LOADING_MODEL, ProgressBar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file that a search wrote")
    parser.add_argument(
        "--tolerance",
        type=accuracy_fall,
        metavar="T",
        help="largest fall in accuracy that passes (default: the file's)",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the findings as JUnit XML too")
    add_evaluator_options(parser)
    add_engine_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Compare a policy with what its file says."""
    if args.junit is None:
        policy_of(args.policy)  # what is wrong with it is told before torch is loaded
    from autotc.check import errors_as_junit, load_measured, write_junit

    with errors_as_junit(args.policy, args.junit):
        policy, measured, split = load_measured(args.policy)
        limit = args.limit
        if args.tasks is not None and limit is None:
            limit = max(measured.samples.values(), default=None)  # no more than was measured need be read
        with ProgressBar("check") as progress:
            progress.phase(LOADING_MODEL, quiet=True)
            evaluator = evaluator_of(args, measured.seed, limit=limit)
            if args.tasks is not None:
                warn_untouched(evaluator, policy, split)
            progress.steps()
            report = autotc.check(args.policy, evaluator, tolerance=args.tolerance, limit=limit, progress=progress)
    if args.junit is not None:
        write_junit(report, args.junit)
    return Output(report.to_json(), lambda: check_text(report), 0 if report.passed else 1)


COMMAND = Command(
    name="check",
    function="check",
    summary="compare a policy with what its file says; exit 1 when it got worse",
    examples=("autotc check policies/tiny-omni-0.5.yaml --junit check.xml",),
    add_arguments=add_arguments,
    run=run,
)
