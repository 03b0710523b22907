"""Pooled query: weighted k-means on lists."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Seeds by weight times distance, then Lloyd's rounds with the seeds held in place."""
    x, n = given.x, len(given.x)
    rounds = int(str(given.params.get("rounds", 3)))
    temperature = float(str(given.params.get("temperature", 0.2)))
    relevance = given.scores["text_similarity"]
    weight = np.maximum(np.exp((relevance - relevance.max()) / temperature), 1e-6) * given.mass
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    seeds = [int(weight.argmax())]
    while len(seeds) < m:
        free = [i for i in range(n) if i not in seeds]
        seeds.append(max(free, key=lambda i: weight[i] * min(1 - unit[i] @ unit[s] for s in seeds)))
    seeds.sort()

    means = [unit[s] for s in seeds]
    for _ in range(rounds):
        clusters: list[list[int]] = [[s] for s in seeds]
        for i in range(n):
            if i not in seeds:
                clusters[int(np.argmax([unit[i] @ mean for mean in means]))].append(i)
        sums = [sum(weight[i] * unit[i] for i in cluster) for cluster in clusters]
        means = [total / np.linalg.norm(total) for total in sums]
    return seeds, np.stack([np.average(x[cluster], axis=0, weights=weight[cluster]) for cluster in clusters])


# Weights are exp(0), exp(-1), exp(-1), exp(-1) at temperature 1. Seed 0 has most; 3 points the other way and is the
# second seed. 1 joins 0 and 2 joins 3: averages (1 x (1, 0) + e^-1 x (2, 1)) / (1 + e^-1) and the plain mean of 2, 3.
_X = [[1.0, 0.0], [2.0, 1.0], [-1.0, 1.0], [-3.0, 0.0]]
_SCORES = {"text_similarity": [1.0, 0.0, 0.0, 0.0]}
_E = float(np.exp(-1.0))
_FIRST = [(1.0 + 2.0 * _E) / (1.0 + _E), _E / (1.0 + _E)]
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 3], [_FIRST, [-2.0, 0.5]], scores=_SCORES, params={"temperature": 1.0}),
        Case(_X, 4, [0, 1, 2, 3], scores=_SCORES),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"rounds": 1}, {"temperature": 1.0, "rounds": 5}),
)
