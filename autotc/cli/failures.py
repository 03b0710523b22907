"""What the shell says of an error: one line, and an exit code that a script can tell apart."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import EXTRAS, AutotcError, missing_dependency, one_line

CHECK_FAILED = 1
WRONG_INPUT = 2
OWN_FAULT = 70
"""Of sysexits.h: the program is at fault. Not 1, which says that a check failed."""
INTERRUPTED = 130
DEBUG = "AUTOTC_DEBUG"
"""Environment variable that shows tracebacks, as ``--debug`` does."""
HINT_LENGTH = 4000
"""Characters of an interruption's message, which holds a command to paste."""
_HOST_IS_FULL = "can't allocate memory"
"""What torch says where the host's memory does not suffice."""


@dataclass(frozen=True)
class Failure:
    """An error as it is told.

    Attributes:
        message: one line.
        code: exit code.
    """

    message: str
    code: int


def explain(error: BaseException) -> Failure:
    """What to say of an error, and what to exit with.

    An error of autotc's, a missing package, a full disk or too little memory is the user's to mend: code 2. Anything
    else is a fault of autotc: code 70, with the place in the code.
    """
    if isinstance(error, KeyboardInterrupt):
        return Failure(one_line(error, HINT_LENGTH) or "interrupted", INTERRUPTED)
    if isinstance(error, AutotcError):
        return Failure(one_line(error), WRONG_INPUT)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        return Failure(one_line(missing_dependency(error)), WRONG_INPUT)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _HOST_IS_FULL in str(error):
        hint = "give a smaller --batch-size or --limit, or a larger device"
        return Failure(one_line(f"out of memory ({one_line(error, 160) or 'of the host'}); {hint}"), WRONG_INPUT)
    if isinstance(error, OSError) and error.errno is not None:
        name = "" if error.filename is None else f"{one_line(os.fsdecode(error.filename), 200)}: "
        return Failure(one_line(f"{name}{error.strerror or error}"), WRONG_INPUT)
    return Failure(one_line(f"{_named(error)}; a fault of autotc: --debug shows where"), OWN_FAULT)


def _named(error: BaseException) -> str:
    """Class, message and the innermost place in autotc of an error."""
    text = one_line(error, 140)
    named = f"unexpected {type(error).__name__}" + (f": {text}" if text else "")
    root = Path(__file__).parents[1]
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root)]
    if not places:
        return named
    place = places[-1]
    return f"{named} (autotc/{Path(place.filename).relative_to(root)}:{place.lineno}, {place.name})"


def show_traceback(error: BaseException) -> None:
    """Print where an error comes from, on stderr."""
    traceback.print_exception(error, file=sys.stderr)
