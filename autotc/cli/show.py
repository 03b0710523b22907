"""``autotc show``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file, or none")


def run(args: argparse.Namespace) -> Output:
    """Print what a policy does."""
    view = autotc.show(args.policy)
    return Output(view.to_json(), view.text)


COMMAND = Command(
    name="show",
    function="show",
    summary="print what a policy does and what was measured",
    examples=("autotc show policies/x.yaml",),
    add_arguments=add_arguments,
    run=run,
)
