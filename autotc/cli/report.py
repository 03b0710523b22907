"""``autotc report``."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from autotc.cli.command import Command
from autotc.cli.options import add_runs_option
from autotc.cli.output import Output
from autotc.cli.studies import study_names
from autotc.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="name of the study (default: the latest)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder of the figures (default: the study's)")
    add_runs_option(parser)


def run(args: argparse.Namespace) -> Output:
    """Write the figures of a study."""
    study = args.study or study_names(args.runs)[-1]
    if study not in (known := study_names(args.runs)):
        raise DataError(f"study: {study!r} is not in {args.runs / 'studies.db'}; known: {', '.join(known)}")
    figures = [args.runs / study / name for name in ("front.png", "front.html")]
    for figure in figures:
        if not figure.exists():
            raise DataError(f"{figure}: no such file; finish the study with autotc search --resume {study}")
    if args.to is not None:
        try:
            args.to.mkdir(parents=True, exist_ok=True)
            figures = [Path(shutil.copy(figure, args.to / f"{study}-{figure.name}")) for figure in figures]
        except OSError as error:
            raise DataError(f"--to: {args.to} cannot be written ({error.strerror}); give another folder") from error
    return Output({"study": study, "figures": figures}, "\n".join(str(figure) for figure in figures))


COMMAND = Command(
    name="report",
    function="report",
    summary="write the figures of a study",
    examples=("autotc report --to figures",),
    add_arguments=add_arguments,
    run=run,
)
