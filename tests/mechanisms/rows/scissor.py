"""LLaVA-Scissor, by Kruskal's rule over all pairs."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def _components(points: list[Array], groups: list[int], left: int, threshold: float | None) -> list[list[int]]:
    """Join the most alike pairs of a group until so many components are left; with a threshold all above it."""
    label = list(range(len(points)))
    pairs = [(i, j) for i in range(len(points)) for j in range(i + 1, len(points)) if groups[i] == groups[j]]
    for i, j in sorted(pairs, key=lambda p: (-cosine(points[p[0]], points[p[1]]), p)):
        above = threshold is not None and cosine(points[i], points[j]) > threshold
        if label[i] != label[j] and (above or len(set(label)) > left):
            low, high = sorted((label[i], label[j]))
            label = [low if known == high else known for known in label]
    return [[i for i in range(len(points)) if label[i] == root] for root in sorted(set(label))]


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Components of frames, components of their means, and the last merge of all tokens into the nearest mean."""
    x, n = list(given.x), len(given.x)
    frames = [int(place[0]) for place in given.places]
    threshold = float(str(given.params.get("threshold", 0.9))) if given.params.get("adaptive") else None
    middle = n if threshold is not None else min(n, max(int((n * m) ** 0.5 + 0.5), max(frames) + 1, m))
    space = _components(x, frames, middle, threshold)
    means = [np.mean([x[i] for i in part], axis=0) for part in space]
    time = _components(means, [0] * len(means), m, threshold)
    centres = [np.mean([means[c] for c in part], axis=0) for part in time]
    first = [min(i for c in part for i in space[c]) for part in time]
    sums, counts = [centre.copy() for centre in centres], [1] * len(centres)
    for point in x:
        near = max(range(len(centres)), key=lambda c: cosine(point, centres[c]))
        sums[near] += point
        counts[near] += 1
    order = sorted(range(len(first)), key=lambda c: first[c])
    return [first[c] for c in order], np.array([sums[c] / counts[c] for c in order])


# Frame 0 holds (1, 0) and (2, 1); frame 1 holds (0, 1) and (0, 3). All that is more alike than 0.95 joins: 2 with 3,
# mean (0, 2); 0 and 1 have cosine 0.894. With a budget of 2, sqrt(8) = 3 components come from the first step, the same;
# then the means (1, 0) and (2, 1) join, mean (1.5, 0.5). Tokens 0 and 1 are nearest to it: ((1.5, 0.5) + (1, 0) + (2,
# 1)) / 3 = (1.5, 0.5); and ((0, 2) + (0, 1) + (0, 3)) / 3 = (0, 2).
_X = [[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 3.0]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 2], [[1.5, 0.5], [0.0, 2.0]], (2, 1, 2)),
        Case(_X, 3, [0, 1, 2], [[1.0, 0.0], [2.0, 1.0], [0.0, 2.0]], (2, 1, 2)),
        Case(
            _X,
            4,
            [0, 1, 2],
            [[1.0, 0.0], [2.0, 1.0], [0.0, 2.0]],
            (2, 1, 2),
            params={"adaptive": True, "threshold": 0.95},
        ),
        Case(_X, 2, [0, 2], [[1.5, 0.5], [0.0, 2.0]], (2, 1, 2), params={"adaptive": True, "threshold": 0.95}),
    ),
    conserves=True,
    exact_flops=False,
    params=({}, {"adaptive": True, "threshold": 0.4}, {"adaptive": True}),
)
