"""``autotc init``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: this folder)")


def run(args: argparse.Namespace) -> Output:
    """Write files to start from."""
    example = autotc.init(args.folder)
    space, data = shlex.quote(str(example.space)), shlex.quote(str(example.data))
    text = "\n".join(
        [
            f"wrote {example.space}, {example.data} and {len(example.media)} media files",
            "next:",
            f"  autotc validate {space} {data}",
            f"  autotc search --space {space} --data {data}",
        ]
    )
    return Output(example.to_json(), text)


COMMAND = Command(
    name="init",
    function="init",
    summary="write a search space and a data file to start from",
    examples=("autotc init example",),
    add_arguments=add_arguments,
    run=run,
)
