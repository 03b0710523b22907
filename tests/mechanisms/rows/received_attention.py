"""Received attention: a sort."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """The most attended."""
    return top(given.scores["received_attention"], m)


_X = [[1.0], [2.0], [3.0], [4.0]]
_SEEN = [0.1, 0.4, 0.2, 0.4]
ROW = Row(
    reference,
    (
        Case(_X, 1, [1], scores={"received_attention": _SEEN}),
        Case(_X, 2, [1, 3], scores={"received_attention": _SEEN}),
        Case(_X, 3, [1, 2, 3], scores={"received_attention": _SEEN}),
    ),
    permutes=True,
)
