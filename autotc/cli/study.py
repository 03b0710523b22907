"""``autotc study``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_home_options, add_tracking_option
from autotc.cli.output import Output
from autotc.errors import DataError
from autotc.names import check_name
from autotc.report.studies import studies_text


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "sync"),
        default="list",
        help="list the studies (default), or sync: log to MLflow what a search could not log while it ran",
    )
    parser.add_argument("study", nargs="?", metavar="STUDY", help="with sync: its name")
    add_home_options(parser)
    add_tracking_option(parser)


def run(args: argparse.Namespace) -> Output:
    """List the studies, or log what is kept of one."""
    if args.action == "sync":
        from autotc.search.sync import sync

        if args.study is None:
            raise DataError("STUDY: missing; autotc study sync STUDY names the study to log")
        count = sync(
            check_name(args.study, "STUDY"), runs=args.runs, tracking_uri=args.tracking_uri, storage=args.storage
        )
        return Output({"study": args.study, "logged": count}, f"{args.study}: {count} records logged to MLflow")
    if args.study is not None or args.tracking_uri is not None:
        raise DataError("STUDY and --tracking-uri: given without sync")
    studies = autotc.study(runs=args.runs, storage=args.storage)
    return Output([study.to_json() for study in studies], lambda: studies_text(studies))


COMMAND = Command(
    name="study",
    function="study",
    summary="list the studies, or bring their record to MLflow",
    examples=("autotc study", "autotc study sync tiny-omni-b0.4-s0"),
    add_arguments=_add_arguments,
    run=run,
)
