"""``autotc front``."""

from __future__ import annotations

import argparse

from autotc.cli.command import Command
from autotc.cli.options import add_runs_option
from autotc.cli.output import Output
from autotc.cli.studies import exported_file, study_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> Output:
    """Print the front of a study."""
    from autotc.report.search import front_table
    from autotc.search.study import load_front

    study = args.study or study_names(args.runs)[-1]
    records = load_front(study, args.runs)
    points = [
        {
            "policy": exported_file(args.runs, study, record.number),
            "label": record.policy.label(),
            "accuracy": record.accuracy,
            "accuracy_by": dict(record.accuracy_by),
            "flops_ratio": record.flops_ratio,
            "tokens": dict(record.tokens),
            "trial": record.number,
            "split": "search",
        }
        for record in records
    ]
    shown = [
        {**point, "accuracy": point["accuracy_by"], "policy": point["policy"] or point["label"]} for point in points
    ]
    text = f"{study}: front on the search split\n\n{front_table(shown)}"
    return Output({"study": study, "front": points}, text)


COMMAND = Command(
    name="front",
    function="front",
    summary="print the front of a study",
    examples=("autotc front",),
    add_arguments=add_arguments,
    run=run,
)
