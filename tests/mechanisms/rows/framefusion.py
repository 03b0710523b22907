"""FrameFusion, place by place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Chains of tokens at one place, cut where neighbours are least alike."""
    spots: dict[tuple[int, int], list[int]] = {}
    for i in sorted(range(len(given.x)), key=lambda i: given.places[i, 0]):
        spots.setdefault((int(given.places[i, 1]), int(given.places[i, 2])), []).append(i)
    chain = [i for spot in sorted(spots) for i in spots[spot]]
    likeness = {}
    for before, after in pairwise(chain):
        same = tuple(given.places[before, 1:]) == tuple(given.places[after, 1:])
        likeness[after] = cosine(given.x[before], given.x[after]) - (0 if same else 4)
    order = sorted(likeness, key=lambda i: (-likeness[i], chain.index(i)))
    leaving = len(given.x) - m
    if given.params.get("adaptive"):
        threshold = float(str(given.params.get("similarity_threshold", 0.6)))
        leaving = max(leaving, sum(value >= threshold for value in likeness.values()))
    joined = set(order[:leaving])
    groups: dict[int, list[int]] = {}
    head = -1
    for i in chain:
        head = head if i in joined else i
        groups.setdefault(head, []).append(i)
    kept = sorted(groups)
    mean = [np.average(given.x[groups[k]], axis=0, weights=given.mass[groups[k]]) for k in kept]
    return kept, np.stack(mean)


# Three frames of two places. Place 0: (1, 0), (2, 0), (0, 1), so cosines 1 and 0.
# Place 1: (0, 1), (1, 1), (1, 1), so cosines 0.71 and 1 (the later in the order of places).
_X = [[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]
ROW = Row(
    reference,
    (
        Case(_X, 5, [0, 1, 3, 4, 5], [[1.5, 0], [0, 1], [1, 1], [0, 1], [1, 1]], grid=(3, 1, 2)),
        Case(_X, 4, [0, 1, 3, 4], [[1.5, 0], [0, 1], [1, 1], [0, 1]], grid=(3, 1, 2)),
        # A run of two flows into the first: the mean of (0, 1), (1, 1), (1, 1).
        Case(_X, 3, [0, 1, 4], [[1.5, 0], [2 / 3, 1], [0, 1]], grid=(3, 1, 2)),
        Case(_X, 5, [0, 1, 4], [[1.5, 0], [2 / 3, 1], [0, 1]], grid=(3, 1, 2), params={"adaptive": True}),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"adaptive": True}, {"adaptive": True, "similarity_threshold": 0.0}),
)
