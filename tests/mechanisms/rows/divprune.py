"""DivPrune, by the published loop."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Farthest-point selection with every distance looked up again."""
    x, n = given.x, len(given.x)
    distance = [[1 - cosine(x[i], x[j]) for j in range(n)] for i in range(n)]
    chosen: list[int] = []
    while len(chosen) < m:
        best, best_score = -1, -np.inf
        for i in range(n):
            others = chosen or [j for j in range(n) if j != i]
            score = min((distance[i][j] for j in others), default=0.0)
            if i not in chosen and score > best_score:
                best, best_score = i, score
        chosen.append(best)
    return sorted(chosen)


# 3 is the loneliest; 1 points furthest from it; then 2 is further from both than 0, which is like 1.
_X = [[1.0, 0.0], [1.0, 0.3], [0.0, 1.0], [-1.0, -0.2]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [3]),
        Case(_X, 2, [1, 3]),
        Case(_X, 3, [1, 2, 3]),
        Case(_X, 4, [0, 1, 2, 3]),
    ),
    permutes=True,
)
