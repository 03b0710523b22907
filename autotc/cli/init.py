"""``autotc init``."""

from __future__ import annotations

import argparse
from pathlib import Path

from autotc.cli.command import Command
from autotc.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: this folder)")


def run(args: argparse.Namespace) -> Output:
    """Write files to start from."""
    from autotc.resources import write_example

    files = [str(path) for path in write_example(args.folder)]
    text = "\n".join(
        [
            f"wrote {files[0]}, {files[1]} and {len(files) - 2} media files",
            "next:",
            f"  autotc validate {files[0]} {files[1]}",
            f"  autotc search --space {files[0]} --data {files[1]}",
        ]
    )
    return Output({"files": files}, text)


COMMAND = Command(
    name="init",
    function="init",
    summary="write a search space and a data file to start from",
    examples=("autotc init example",),
    add_arguments=add_arguments,
    run=run,
)
