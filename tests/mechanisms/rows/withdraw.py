"""Withdrawal: the last tokens."""

from __future__ import annotations

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """Drop the first token until the budget is met."""
    kept = list(range(len(given.x)))
    while len(kept) > m:
        kept.pop(0)
    return kept


# The published form drops all; the last token is what must stay.
ROW = Row(reference, (Case([[1.0], [2.0], [3.0]], 1, [2]), Case([[1.0], [2.0], [3.0]], 2, [1, 2])))
