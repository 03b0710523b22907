"""The parser of the shell: every command with its options, and what is wrong with a command line in one line."""

from __future__ import annotations

import argparse
import re
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
    registry,
    report,
    search,
    show,
    study,
    validate,
    worker,
)
from autotc.cli import eval as evaluate
from autotc.cli.command import Command
from autotc.cli.options import SHELLS
from autotc.errors import MESSAGE_LENGTH, one_line, quote
from autotc.names import nearest

_ALL: tuple[Command, ...] = (
    *(
        search.COMMAND,
        worker.COMMAND,
        evaluate.COMMAND,
        check.COMMAND,
        front.COMMAND,
        report.COMMAND,
        study.COMMAND,
        show.COMMAND,
    ),
    *(validate.COMMAND, presets.COMMAND, compare.COMMAND, conflicts.COMMAND, bench.COMMAND, export.COMMAND),
    *(registry.COMMAND, models.COMMAND, init.COMMAND),
)
COMMANDS = {command.name: command for command in _ALL}
"""Command's name -> command, in the order of ``autotc --help``."""


class UsageError(Exception):
    """A command line is wrong; the message says which command refuses it, what is wrong and where to look."""


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the arguments, in place of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: (.*) \(choose from (.*)\)$", message, re.DOTALL)
        if choice is not None:
            known = re.findall(r"[\w.-]+", choice[2])
            said = f"{one_line(choice[1], 60)} given; {nearest(choice[1].strip(chr(39)), known, len(known))}"
            message = message[: choice.start()] + said
        start, end = f"{self.prog}: ", f"; see {self.prog} --help"
        raise UsageError(f"{start}{one_line(message, MESSAGE_LENGTH - len(start) - len(end))}{end}")

    def actions(self) -> list[argparse.Action]:
        """Its options and arguments."""
        return self._actions

    def options(self) -> list[str]:
        """The options that it knows."""
        return re.findall(r"--[a-z][a-z-]*", self.format_usage())


class ShellParser:
    """Parses command lines of ``autotc``."""

    def __init__(self) -> None:
        self._program = _Parser(
            prog="autotc",
            description="Finds, for a multimodal language model and a compute budget, the best way to compress its"
            " image, video and audio tokens.",
            epilog="example: autotc search --budget 0.5",
            allow_abbrev=False,
        )
        self._program.add_argument("--version", action="store_true", help="print the version and leave")
        self._program.add_argument(
            "--print-completion", choices=SHELLS, help="print the script that completes autotc in a shell, and leave"
        )
        parsers = self._program.add_subparsers(
            dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
        )
        self._commands = {command.name: self._add(parsers, command) for command in COMMANDS.values()}

    @staticmethod
    def _add(parsers: argparse._SubParsersAction[_Parser], command: Command) -> _Parser:
        parser = parsers.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout and nothing else there"
        )
        parser.add_argument("--debug", action="store_true", help="show where an unexpected error comes from")
        command.add_arguments(parser)
        return parser

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments of a command line.

        Raises:
            UsageError: it is wrong.
            SystemExit: it asked for help, which is printed.
        """
        if any(word == "" or re.fullmatch(r"--[a-z-]+=", word) for word in argv):
            self._program.error("an argument is empty; leave it out, or give a value")
        args, unknown = self._program.parse_known_args(argv)
        if unknown:
            parser = self._program if args.command is None else self._commands[args.command]
            option = next((word for word in unknown if word.startswith("-")), None)
            if option is None:
                parser.error(f"{quote(unknown[0])} given, an argument too many")
            option = option.partition("=")[0]
            hint = nearest(option, parser.options(), listed=0)
            parser.error(f"{quote(option)[1:-1]}: no such option" + (f"; {hint}" if hint else ""))
        return args

    def options_of(self, command: str) -> list[str]:
        """The options that a command knows."""
        return self._commands[command].options()

    def actions(self, command: str | None = None) -> list[argparse.Action]:
        """The options and arguments of a command, or of all of them."""
        parsers = self._commands.values() if command is None else [self._commands[command]]
        return [action for parser in parsers for action in parser.actions()]

    @property
    def program(self) -> argparse.ArgumentParser:
        """The parser of whole command lines."""
        return self._program

    def print_help(self) -> None:
        """Print what commands there are."""
        self._program.print_help()
