"""Uniform stride; every length and budget is tested in `test_grids`."""

from __future__ import annotations

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """The first token of each of ``m`` near-equal runs."""
    return [-(-i * len(given.x) // m) for i in range(m)]


ROW = Row(reference, (Case([[0.0]] * 12, 4, [0, 3, 6, 9]),))
