"""``autotc validate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a .yaml policy or search space, a data file (.jsonl, .json, .csv, .tsv, .parquet)",
    )


def run(args: argparse.Namespace) -> Output:
    """Check files without running them."""
    checks = autotc.validate(*args.files)
    for check in checks:
        if not check.valid:
            print(f"autotc validate: {check.message}", file=sys.stderr)
    text = "\n".join(f"{check.file}: a valid {check.kind}" for check in checks if check.valid)
    return Output([check.to_json() for check in checks], text, 0 if all(check.valid for check in checks) else 2)


COMMAND = Command(
    name="validate",
    function="validate",
    summary="check policy, search space and data files without running them",
    examples=("autotc validate policies/x.yaml space.yaml data.jsonl",),
    add_arguments=add_arguments,
    run=run,
)
