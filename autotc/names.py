"""Names of what is kept: studies, comparisons, policies. A name is one folder or file, never a path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from autotc.errors import AutotcError, DataError, quote

NAME_LENGTH = 120
"""Bytes of the longest name: a file system takes 255, and endings such as ``.samples.parquet`` are added."""
_BEGUN = 3
"""Letters from which on the beginning of a name is taken for it."""
_SIGNS = "._-~"


def check_name(name: str, what: str, *, error: type[AutotcError] = DataError) -> str:
    """A name that can be kept under; returned as it is.

    Args:
        name: letters and digits of any script, and ``._-~``; the first is a letter, a digit or ``_``.
        what: it names, for errors, e.g. ``--name`` or ``study``.
        error: class of the error to raise.

    Raises:
        error: it is empty, too long, or holds something else, e.g. a slash.

    Example:
        >>> check_name("qwen-b0.5-s0~2", "study")
        'qwen-b0.5-s0~2'
    """
    if name and all(c.isalnum() or c in _SIGNS for c in name) and name[0] not in ".-~" and _bytes(name) <= NAME_LENGTH:
        return name
    raise error(
        f"{what}: {quote(name)} given; letters, digits and . _ - ~ are right, none of . - ~ first, at most"
        f" {NAME_LENGTH} bytes"
    )


def to_name(text: str, otherwise: str = "model") -> str:
    """A name made from any text: what is no ASCII letter, digit or one of ``._-`` becomes ``-``.

    Args:
        text: e.g. a model's path or a task's title.
        otherwise: the name of a text of which nothing is left.

    Example:
        >>> to_name("my model (v2)")
        'my-model-v2'
    """
    kept = re.sub(r"[^\w.\-]+", "-", text, flags=re.ASCII).strip("-.")
    return kept[:NAME_LENGTH].strip("-.") or otherwise


def nearest(name: str, known: Iterable[str], listed: int = 12) -> str:
    """What may have been meant by a name that is not known, as the end of an error.

    Args:
        name: as given.
        known: the names that are right.
        listed: how many of them are listed where none is near; with 0 the end is empty.

    Example:
        >>> nearest("serach", ["search", "eval"])
        "did you mean 'search'?"
    """
    names = list(known)
    near = near_names(name, names, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    if not listed:
        return ""
    rest = f" and {len(names) - listed} more" if len(names) > listed else ""
    return f"known: {', '.join(names[:listed]) or 'none'}{rest}"


def near_names(name: str, known: Iterable[str], count: int) -> list[str]:
    """Names that are written much like one that is not known, or begin with it, whatever their case; the nearest first.

    Args:
        name: as given.
        known: the names that are right.
        count: how many of them there may be.

    Example:
        >>> near_names("FastV", ["fastv", "fastvid", "tome"], 2)
        ['fastv', 'fastvid']
    """
    by_case = {other.lower(): other for other in known}
    given = name[:NAME_LENGTH].lower()
    near = difflib.get_close_matches(given, by_case, n=count)
    begun = [other for other in by_case if other.startswith(given) and len(given) >= _BEGUN]
    return [by_case[other] for other in dict.fromkeys([*near, *begun])][:count]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
