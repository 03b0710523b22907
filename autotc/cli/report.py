"""``autotc report``."""

from __future__ import annotations

import argparse
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_runs_option
from autotc.cli.output import Output
from autotc.report.studies import report_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder of the figures (default: the study's)")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> Output:
    """Write the figures of a study."""
    report = autotc.report(args.study, to=args.to, runs=args.runs)
    return Output(report.to_json(), report_text(report))


COMMAND = Command(
    name="report",
    function="report",
    summary="write the figures of a study",
    examples=("autotc report --to figures",),
    add_arguments=add_arguments,
    run=run,
)
