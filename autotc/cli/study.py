"""``autotc study``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.options import add_home_options, add_tracking_option
from autotc.cli.output import Output
from autotc.errors import DataError
from autotc.names import check_name
from autotc.report.studies import problems_text, state_text, studies_text

_TAKES = {
    "other": ("merge",),
    "other_runs": ("merge",),
    "tracking_uri": ("sync",),
    "out": ("export",),
    "yes": ("delete",),
}
"""Option -> actions that take it."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", *_ACTIONS),
        default="list",
        help="list the studies (default); show how far one is, and who works on it; doctor: what is wrong with it, exit"
        " code 1 where something is; sync: log to MLflow what a search could not log; export its trials as a table;"
        " merge another of the same model, data, space and budget into it; delete it",
    )
    parser.add_argument("study", nargs="?", metavar="STUDY", help="its name; of all but list")
    parser.add_argument("other", nargs="?", metavar="OTHER", help="with merge: the study whose trials are taken over")
    add_home_options(parser)
    parser.add_argument(
        "--other-runs", type=Path, metavar="DIR", help="with merge: where OTHER is kept (default: --runs)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="with export: .csv or .parquet")
    parser.add_argument("--yes", action="store_true", help="with delete: needed, since nothing brings a study back")
    add_tracking_option(parser)


def run(args: argparse.Namespace) -> Output:
    """List the studies, or do something with one of them."""
    for option, actions in _TAKES.items():
        if getattr(args, option) not in (None, False) and args.action not in actions:
            name = "OTHER" if option == "other" else f"--{option.replace('_', '-')}"
            raise DataError(f"{name}: given with {args.action}; it goes with {' or '.join(actions)}")
    if args.action == "list":
        if args.study is not None:
            raise DataError(f"STUDY: {args.study} given without an action; autotc study show {args.study} shows it")
        studies = autotc.study(runs=args.runs, storage=args.storage)
        return Output([study.to_json() for study in studies], lambda: studies_text(studies))
    if args.study is None:
        raise DataError(f"STUDY: missing; autotc study {args.action} STUDY names the study")
    check_name(args.study, "STUDY")
    return _ACTIONS[args.action](args)


def _show(args: argparse.Namespace) -> Output:
    from autotc.search.home import Home
    from autotc.search.upkeep import state

    found = state(args.study, Home.of(args.runs, args.storage))
    return Output(found.to_json(), state_text(found))


def _doctor(args: argparse.Namespace) -> Output:
    from autotc.search.home import Home
    from autotc.search.upkeep import doctor

    found = doctor(args.study, Home.of(args.runs, args.storage))
    return Output([problem.to_json() for problem in found], problems_text(args.study, found), code=1 if found else 0)


def _sync(args: argparse.Namespace) -> Output:
    from autotc.search.sync import sync

    count = sync(args.study, runs=args.runs, tracking_uri=args.tracking_uri, storage=args.storage)
    return Output({"study": args.study, "logged": count}, f"{args.study}: {count} records logged to MLflow")


def _export(args: argparse.Namespace) -> Output:
    from autotc.search.home import Home
    from autotc.search.upkeep import export

    if args.out is None:
        raise DataError("--out: missing; a file that ends in .csv or .parquet is right")
    path = export(args.study, Home.of(args.runs, args.storage), args.out)
    return Output({"study": args.study, "file": path}, f"wrote {path}")


def _merge(args: argparse.Namespace) -> Output:
    from autotc.search.home import Home
    from autotc.search.upkeep import merge

    if args.other is None:
        raise DataError("OTHER: missing; autotc study merge STUDY OTHER names the study whose trials are taken over")
    home = Home.of(args.runs, args.storage)
    other = home if args.other_runs is None else Home.of(args.other_runs)
    count = merge(args.study, check_name(args.other, "OTHER"), home, other)
    text = f"{args.study}: {count} trials of {args.other} taken over; autotc search --resume {args.study} ranks again"
    return Output({"study": args.study, "other": args.other, "trials": count}, text)


def _delete(args: argparse.Namespace) -> Output:
    from autotc.search.home import Home
    from autotc.search.upkeep import delete

    if not args.yes:
        raise DataError(f"--yes: missing; nothing brings {args.study} back once it is deleted")
    folder = delete(args.study, Home.of(args.runs, args.storage))
    return Output({"study": args.study, "deleted": True}, f"deleted {args.study} and {folder}")


_ACTIONS: dict[str, Callable[[argparse.Namespace], Output]] = {
    "show": _show,
    "doctor": _doctor,
    "sync": _sync,
    "export": _export,
    "merge": _merge,
    "delete": _delete,
}

COMMAND = Command(
    name="study",
    function="study",
    summary="list the studies, look after one of them",
    examples=("autotc study", "autotc study show tiny-omni-b0.4-s0", "autotc study doctor tiny-omni-b0.4-s0"),
    add_arguments=_add_arguments,
    run=run,
)
