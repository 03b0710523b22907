"""``autotc check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, policy_of, warn_untouched
from autotc.cli.options import accuracy_fall, add_engine_options, add_evaluator_options, positive
from autotc.cli.output import Output
from autotc.files import write_text
from autotc.report.progress import LOADING_MODEL, ProgressBar

if TYPE_CHECKING:
    from autotc.gate.demands import CheckOptions
    from autotc.records.check import CheckReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file that a search wrote")
    demands = parser.add_argument_group("what is demanded")
    demands.add_argument(
        "--tolerance",
        type=accuracy_fall,
        action="append",
        default=[],
        metavar="[NAME=]T",
        help="largest fall in accuracy that passes, of all or of a modality, overall or task:NAME; may be given several"
        " times (default: the file's)",
    )
    demands.add_argument(
        "--equivalence",
        action="store_true",
        help="fail also where accuracy is not shown to be within the tolerance, for too few samples",
    )
    demands.add_argument(
        "--must-pass", type=Path, metavar="FILE", help="ids of samples that must not get worse, one a line"
    )
    demands.add_argument(
        "--latency",
        type=positive,
        metavar="R",
        help="largest ratio of the prefill time to the uncompressed model's, measured in pairs in this run",
    )
    demands.add_argument(
        "--baseline",
        metavar="POLICY",
        help="compare with what this policy file says, or models:/NAME@ALIAS or runs:/ID of MLflow (default: POLICY)",
    )
    demands.add_argument(
        "--accept",
        action="store_true",
        help="write what was measured now into the policy's file, as the baseline of later checks, and exit 0",
    )
    files = parser.add_argument_group("what is written")
    files.add_argument("--junit", type=Path, metavar="FILE", help="write the findings as JUnit XML too")
    files.add_argument("--sarif", type=Path, metavar="FILE", help="write them as SARIF, for code scanning")
    files.add_argument("--markdown", type=Path, metavar="FILE", help="write them as a comment for a pull request")
    add_evaluator_options(parser)
    add_engine_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Compare a policy with what its file says."""
    if args.junit is None:
        policy_of(args.policy)  # what is wrong with it is told before torch is loaded
    from autotc.check import errors_as_junit
    from autotc.gate.baseline import load_measured

    with errors_as_junit(args.policy, args.junit):
        _, measured, split = load_measured(args.policy if args.baseline is None else args.baseline)
        limit = args.limit
        if args.tasks is not None and limit is None:
            limit = max(measured.samples.values(), default=None)  # no more than was measured need be read
        with ProgressBar("check") as progress:
            progress.phase(LOADING_MODEL, quiet=True)
            evaluator = evaluator_of(args, measured.seed, limit=limit)
            if args.tasks is not None:
                warn_untouched(evaluator, policy_of(args.policy), split)
            progress.steps()
            report = autotc.check(args.policy, evaluator, progress=progress, **_options(args, limit))
    _write(report, args)
    return Output(report.to_json(), lambda: _text(report, args), 0 if report.passed or args.accept else 1)


def _options(args: argparse.Namespace, limit: int | None) -> CheckOptions:
    """Keywords of `autotc.check`."""
    falls = dict(args.tolerance)
    return {
        "tolerance": falls.get(None),
        "tolerances": {name: fall for name, fall in falls.items() if name is not None},
        "baseline": args.baseline,
        "must_pass": args.must_pass,
        "equivalence": args.equivalence,
        "latency": args.latency,
        "limit": limit,
        "accept": args.accept,
    }


def _write(report: CheckReport, args: argparse.Namespace) -> None:
    """The files that were asked for.

    Raises:
        DataError: one cannot be written.
    """
    from autotc.report.check import check_markdown, check_sarif

    if args.junit is not None:
        write_text(args.junit, report.to_junit(), "--junit")
    if args.sarif is not None:
        write_text(args.sarif, check_sarif(report, autotc.__version__), "--sarif")
    if args.markdown is not None:
        write_text(args.markdown, check_markdown(report), "--markdown")


def _text(report: CheckReport, args: argparse.Namespace) -> str:
    """What is printed."""
    from autotc.report.check import check_text

    accepted = f"\naccepted: {args.policy} holds what was measured now" if args.accept else ""
    return check_text(report) + accepted


COMMAND = Command(
    name="check",
    function="check",
    summary="compare a policy with what its file says; exit 1 when it got worse",
    examples=(
        "autotc check policies/tiny-omni-0.4.yaml --junit check.xml",
        "autotc check policies/tiny-omni-0.4.yaml --tolerance 0.02 --tolerance image=0.01 --must-pass ids.txt",
    ),
    add_arguments=add_arguments,
    run=run,
)
