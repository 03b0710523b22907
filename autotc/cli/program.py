"""The program ``autotc``: its parser, the run of a command, and how errors are told.

stdout holds the result alone (with ``--json`` one JSON document), stderr progress and errors. Exit code 0: done; 1: a
check failed; 2: the user's input is wrong, told in one line; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from autotc.cli import (
    bench,
    check,
    compare,
    conflicts,
    export,
    front,
    init,
    models,
    presets,
    report,
    search,
    show,
    study,
    validate,
)
from autotc.cli import eval as evaluate
from autotc.cli.command import Command
from autotc.errors import EXTRAS, AutotcError, AutotcWarning, missing_dependency, one_line

_ALL: tuple[Command, ...] = (
    *(search.COMMAND, evaluate.COMMAND, check.COMMAND, front.COMMAND, report.COMMAND, study.COMMAND, show.COMMAND),
    *(validate.COMMAND, presets.COMMAND, compare.COMMAND, conflicts.COMMAND, bench.COMMAND, export.COMMAND),
    *(models.COMMAND, init.COMMAND),
)
COMMANDS = {command.name: command for command in _ALL}
"""Command's name -> command, in the order of ``autotc --help``."""


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="autotc",
        description="Finds, for a multimodal language model and a compute budget, the best way to compress its image, "
        "video and audio tokens.",
        epilog="example: autotc search --budget 0.5",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS.values():
        sub = parsers.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
        command.add_arguments(sub)
    return parser


def _quiet() -> None:
    """Keep what libraries remark off stderr, where progress and errors stand."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("alembic", "huggingface_hub", "mlflow", "optuna", "torch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", category=AutotcWarning)
        warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line on stderr."""
    print(f"warning: {one_line(message)}", file=sys.stderr)


def _run(args: argparse.Namespace) -> int:
    """Run a command; print what it found on stdout, and everything else on stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        output = COMMANDS[args.command].run(args)
    if text := output.shown(as_json=args.json):
        print(text, flush=True)
    return output.code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    # Torch's workers otherwise spin while they wait, which on busy cores costs a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as leaving:  # argparse leaves after --help and wrong arguments
        return leaving.code if isinstance(leaving.code, int) else 0
    if args.version:
        from importlib.metadata import version

        print(f"autotc {version('autotc')}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    _quiet()
    try:
        return _run(args)
    except AutotcError as error:
        message = one_line(error)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        message = str(missing_dependency(error))
    except BrokenPipeError:
        # The reader left (`autotc front | head`); without this the interpreter complains once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        print(f"autotc: {one_line(error) or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"autotc {args.command}: {message}", file=sys.stderr)
    return 2
