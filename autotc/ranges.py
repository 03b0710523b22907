"""Values that Python callers give in place of the command line, told in one line where they are out of range."""

from __future__ import annotations

from collections.abc import Iterable

from autotc.errors import DataError, PolicyError, quote


def check_ratio(value: object, what: str) -> float:
    """A ratio in (0, 1].

    Raises:
        PolicyError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    raise PolicyError(f"{what}: {quote(value)} given; a ratio in (0, 1] is right")


def check_ratios(values: Iterable[object] | None, what: str) -> None:
    """Ratios in (0, 1], or None.

    Raises:
        PolicyError: one is out of range.
    """
    if isinstance(values, str):
        raise PolicyError(f"{what}: {quote(values)} given; a list of ratios in (0, 1] is right")
    for value in values or ():
        check_ratio(value, what)


def check_count(value: object, what: str, least: int = 1) -> int:
    """A whole number from a least one on.

    Raises:
        DataError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise DataError(f"{what}: {quote(value)} given; a whole number from {least} is right")


def check_choice(value: object, what: str, known: Iterable[str]) -> None:
    """One of some words.

    Raises:
        DataError: it is none of them.
    """
    words = tuple(known)
    if not isinstance(value, str) or value not in words:
        raise DataError(f"{what}: {quote(value)} given; {' or '.join(words)} is right")
