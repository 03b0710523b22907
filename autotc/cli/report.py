"""``autotc report``."""

from __future__ import annotations

import argparse
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_home_options
from autotc.cli.output import Output
from autotc.report.studies import report_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    parser.add_argument(
        "--format",
        choices=("html", "md"),
        default="html",
        help="a page, or Markdown for a pull request (default: html)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: in the study's folder)")
    add_home_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Write the report of a study."""
    report = autotc.report(args.study, format=args.format, out=args.out, runs=args.runs, storage=args.storage)
    return Output(report.to_json(), report_text(report))


COMMAND = Command(
    name="report",
    function="report",
    summary="write what a study found, and how, as one page or as Markdown",
    examples=("autotc report --out report.html", "autotc report --format md"),
    add_arguments=add_arguments,
    run=run,
)
