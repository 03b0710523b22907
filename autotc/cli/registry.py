"""``autotc registry``."""

from __future__ import annotations

import argparse
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_runs_option, add_tracking_option, from_one
from autotc.cli.output import Output
from autotc.report.registry import registry_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "register", "promote", "rollback"),
        default="list",
        help="(default: list)",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the registered policy")
    parser.add_argument("policy", nargs="?", type=Path, metavar="POLICY", help="policy file to register")
    parser.add_argument("--version", type=from_one, metavar="N", help="version to promote (default: the challenger)")
    parser.add_argument("--alias", default="champion", metavar="ALIAS", help="(default: champion)")
    add_runs_option(parser)
    add_tracking_option(parser)


def run(args: argparse.Namespace) -> Output:
    """List, register, promote or roll back policies."""
    listing = autotc.registry(
        args.action,
        args.name,
        policy=args.policy,
        version=args.version,
        alias=args.alias,
        runs=args.runs,
        tracking_uri=args.tracking_uri,
    )
    return Output(listing.to_json(), lambda: registry_text(listing))


COMMAND = Command(
    name="registry",
    function="registry",
    summary="register policies in MLflow, promote and roll back versions by alias",
    examples=(
        "autotc registry",
        "autotc registry register qwen policies/x.yaml",
        "autotc registry promote qwen --version 3",
        "autotc registry rollback qwen",
    ),
    add_arguments=add_arguments,
    run=run,
)
