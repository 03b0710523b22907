"""``autotc study``."""

from __future__ import annotations

import argparse
from typing import Any

from autotc.cli.command import Command
from autotc.cli.options import add_runs_option
from autotc.cli.output import Output
from autotc.cli.studies import study_names


def run(args: argparse.Namespace) -> Output:
    """List the studies."""
    from autotc.report.tables import table
    from autotc.search.study import load_front

    document = []
    for name in study_names(args.runs):
        records = load_front(name, args.runs)
        best = max(records, key=lambda record: record.accuracy) if records else None
        document.append(
            {
                "study": name,
                "front": len(records),
                "accuracy": None if best is None else best.accuracy,
                "flops_ratio": None if best is None else best.flops_ratio,
            }
        )
    rows = [[_cell(value) for value in entry.values()] for entry in document]
    return Output(document, table(["study", "front", "best accuracy", "its FLOPs"], rows))


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


COMMAND = Command(
    name="study",
    function="study",
    summary="list the studies",
    examples=("autotc study",),
    add_arguments=add_runs_option,
    run=run,
)
