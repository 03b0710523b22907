"""AIM's selection: the top of the PageRank on attention."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """The highest scores."""
    return top(given.scores["attention_rank"], m)


_X = [[0.0], [0.0], [0.0], [0.0]]
_RANK = {"attention_rank": [0.3, 0.1, 0.3, 0.2]}
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 2, 3], scores=_RANK),
        Case(_X, 1, [0], scores=_RANK),  # ties go to the earlier
    ),
    permutes=True,
)
