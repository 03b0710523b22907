"""IVC-Prune, query by query and head by head."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, top


def alike(query: Array, values: Array) -> Array:
    """(N,): one query's softmax over the item, mean over heads."""
    out = np.zeros(len(values))
    for head in range(values.shape[1]):
        scaled = values[:, head] @ query[head] / np.sqrt(values.shape[2])
        weights = np.exp(scaled - scaled.max())
        out += weights / weights.sum() / values.shape[1]
    return out


def reference(given: Given, m: int) -> list[int]:
    """Seeds, coordinates, and then one after another by the mean likeness to text and seeds."""
    values, rotation, n = given.scores["values"], given.scores["rotation"], len(given.x)
    share = float(given.params.get("coordinates", 0.2))  # type: ignore[arg-type]
    rows = [alike(query, values) for query in given.scores["text_values"]]
    seeds = top(np.array(rows).sum(0), min(m, max(1, round(float(given.params.get("seeds", 0.01)) * n))))  # type: ignore[arg-type]
    score = np.mean([*rows, *(alike(values[i], values) for i in seeds)], 0)
    number = round(share * m)
    first = {*seeds, *top(rotation[:, 0], number), *top(rotation[:, 1], number)}
    order = sorted(range(n), key=lambda i: (i not in first, -score[i], i))
    return sorted(order[:m])


# One head of two channels; the query is (0, 4). Its products with the values, divided by sqrt(2), are 0, 5.66, 2.83, 0
# and 2.83, so that token 1 is the seed. With the seed (0, 2) the products are 0, 2.83, 1.41, 0 and 1.41: the order is
# 1, then 2 and 4, then 0 and 3. By cosine token 3 is first, then 0; by sine token 0, then 3.
_X = [[0.0]] * 5
_SCORES = {
    "values": [[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 1.0]], [[-1.0, 0.0]], [[0.0, 1.0]]],
    "text_values": [[[0.0, 0.0]], [[0.0, 4.0]]],
    "rotation": [[0.8, 0.6], [0.1, 0.2], [0.3, 0.1], [0.9, 0.5], [0.2, 0.3]],
}
ROW = Row(
    reference,
    (
        # A fifth of 1 is none: the seed alone.
        Case(_X, 1, [1], scores=_SCORES),
        # A fifth of 3 is 1: the seed, 3 and 0.
        Case(_X, 3, [0, 1, 3], scores=_SCORES),
        Case(_X, 4, [0, 1, 2, 3], scores=_SCORES),
        # Without coordinates likeness alone decides; of 2 and 4 the earlier.
        Case(_X, 2, [1, 2], scores=_SCORES, params={"coordinates": 0.0}),
        # Half of 2 is 1: seed and coordinates are three for two places, and 0 ties with 3 behind the seed.
        Case(_X, 2, [0, 1], scores=_SCORES, params={"coordinates": 0.5}),
    ),
    permutes=True,
    params=({}, {"coordinates": 0.5}, {"seeds": 0.3}),
)
