"""``autotc study``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_runs_option
from autotc.cli.output import Output
from autotc.report.studies import studies_text


def run(args: argparse.Namespace) -> Output:
    """List the studies."""
    studies = autotc.study(runs=args.runs)
    return Output([study.to_json() for study in studies], studies_text(studies))


COMMAND = Command(
    name="study",
    function="study",
    summary="list the studies",
    examples=("autotc study",),
    add_arguments=add_runs_option,
    run=run,
)
