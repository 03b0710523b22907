"""``autotc init``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import loading_of
from autotc.cli.options import add_loading_options
from autotc.cli.output import Output
from autotc.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: this folder)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="checkpoint that the space is written for: what it offers, each location's floor",
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="your samples, which floors are told for")
    add_loading_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Write files to start from."""
    if args.data is not None and args.model is None:
        raise DataError("--data: given without --model; floors are a model's")
    example = autotc.init(args.folder, args.model, data=args.data, loading=loading_of(args))
    space, data = shlex.quote(str(example.space)), shlex.quote(str(example.data))
    text = "\n".join(
        [
            f"wrote {example.space}, {example.data} and {len(example.media)} media files",
            "next:",
            f"  autotc validate {space} {data}",
            f"  autotc search --space {space} --data {data}{_model(args)}",
        ]
    )
    return Output(example.to_json(), text)


def _model(args: argparse.Namespace) -> str:
    """The model's option, for the commands to type."""
    return "" if args.model is None else f" --model {shlex.quote(args.model)}"


COMMAND = Command(
    name="init",
    function="init",
    summary="write a search space and a data file to start from",
    examples=("autotc init example", "autotc init example --model Qwen/Qwen2.5-VL-3B-Instruct"),
    add_arguments=add_arguments,
    run=run,
)
