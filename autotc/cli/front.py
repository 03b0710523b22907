"""``autotc front``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_home_options
from autotc.cli.output import Output
from autotc.report.studies import front_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    add_home_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Print the front of a study."""
    front = autotc.front(args.study, runs=args.runs, storage=args.storage)
    return Output(front.to_json(), lambda: front_text(front))


COMMAND = Command(
    name="front",
    function="front",
    summary="print the front of a study",
    examples=("autotc front",),
    add_arguments=add_arguments,
    run=run,
)
