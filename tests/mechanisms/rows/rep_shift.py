"""Representation shift: the top of the change that the block before made."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """The highest scores."""
    return top(given.scores["representation_shift"], m)


_X = [[0.0], [0.0], [0.0], [0.0]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], scores={"representation_shift": [0.1, 0.4, 0.2, 0.4]}),
        Case(_X, 1, [1], scores={"representation_shift": [0.1, 0.4, 0.2, 0.4]}),  # ties go to the earlier
    ),
    permutes=True,
)
