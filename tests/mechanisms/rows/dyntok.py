"""DynTok, pair by pair."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Pairs of a row join, the most alike first, then rows; a run is averaged."""
    x, n = given.x, len(given.x)
    inner = [i for i in range(1, n) if tuple(given.places[i][:2]) == tuple(given.places[i - 1][:2])]
    order = sorted(range(1, n), key=lambda i: (i not in inner, -cosine(x[i], x[i - 1]), i))
    links = n - m
    if given.params.get("adaptive"):
        threshold = float(str(given.params.get("threshold", 0.6)))
        links = max(links, sum(cosine(x[i], x[i - 1]) > threshold for i in inner))
    joined = set(order[:links])
    groups: list[list[int]] = []
    for i in range(n):
        if i in joined:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [group[0] for group in groups], np.array([x[group].mean(axis=0) for group in groups])


# Rows (0, 1, 2) and (3, 4, 5): cosines to the left are 0.8, 0.6 and, in the second row, 0 and 1; 3 is like 2 but opens
# a row. Of 4 survivors 5 joins 4 and 1 joins 0; of 3, 2 joins both; of 1, everything.
_X = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0], [3.0, 0.0]]
ROW = Row(
    reference,
    (
        Case(_X, 4, [0, 2, 3, 4], [[0.9, 0.3], [0, 1], [0, 3], [2, 0]], (1, 2, 3)),
        Case(_X, 3, [0, 3, 4], [[0.6, 1.6 / 3], [0, 3], [2, 0]], (1, 2, 3)),
        Case(_X, 1, [0], [[5.8 / 6, 4.6 / 6]], (1, 2, 3)),
        # Above 0.7: 1 and 5, whatever the budget.
        Case(
            _X,
            6,
            [0, 2, 3, 4],
            [[0.9, 0.3], [0, 1], [0, 3], [2, 0]],
            (1, 2, 3),
            params={"adaptive": True, "threshold": 0.7},
        ),
    ),
    conserves=True,
    params=({}, {"adaptive": True, "threshold": 0.2}),
)
