"""``autotc models``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.output import Output
from autotc.report.models import models_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> Output:
    """List the model families."""
    families = autotc.models()
    return Output([family.to_json() for family in families], lambda: models_text(families))


COMMAND = Command(
    name="models",
    function="models",
    summary="list the model families that policies can be applied to",
    examples=("autotc models",),
    add_arguments=add_arguments,
    run=run,
)
