"""Text similarity: the top of the cosine to the query."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """The highest scores."""
    return top(given.scores["text_similarity"], m)


_X = [[0.0], [0.0], [0.0], [0.0]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], scores={"text_similarity": [0.1, 0.4, 0.2, 0.4]}),
        Case(_X, 1, [1], scores={"text_similarity": [0.1, 0.4, 0.2, 0.4]}),  # ties go to the earlier
    ),
    permutes=True,
)
