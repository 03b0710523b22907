"""What a command is: a name, help with examples, options, and the call of one function of ``autotc``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from autotc.cli.output import Output


@dataclass(frozen=True)
class Command:
    """One command of the shell.

    Attributes:
        name: typed after ``autotc``.
        function: of ``autotc.__all__`` that it calls.
        summary: in one clause, for the list of commands.
        examples: command lines as a user would type them.
        add_arguments: adds its options to its parser.
        run: calls the function with what was given.
    """

    name: str
    function: str
    summary: str
    examples: tuple[str, ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Output]

    @property
    def description(self) -> str:
        """The summary as a sentence."""
        return self.summary[0].upper() + self.summary[1:] + "."

    @property
    def epilog(self) -> str:
        """The examples as they stand under the help."""
        return "example:\n" + "\n".join(f"  {example}" for example in self.examples)
