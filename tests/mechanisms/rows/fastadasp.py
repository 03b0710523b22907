"""FastAdaSP, by walking along the tokens."""

from __future__ import annotations

import numpy as np

from autotc.mechanisms import Score

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Walk along; while the step to the next token is one of the most alike, add it to the running mean."""
    keys, weight, x = given.scores["keys"], given.scores["received_attention"], given.x
    steps = sorted(range(len(x) - 1), key=lambda i: (-cosine(keys[i], keys[i + 1]), i))[: len(x) - m]
    heads: list[int] = []
    merged: list[Array] = []
    i = 0
    while i < len(x):
        heads.append(i)
        total, count = x[i] * weight[i], weight[i]
        while i in steps:
            i += 1
            total, count = total + x[i] * weight[i], count + weight[i]
        merged.append(total / count)
        i += 1
    return heads, np.stack(merged)


_X = [[1.0], [3.0], [5.0], [9.0]]
_SCORES: dict[Score, object] = {
    "keys": [[1.0, 0.0], [1.0, 0.0], [1.0, 0.2], [0.0, 1.0]],
    "received_attention": [0.3, 0.1, 0.4, 0.2],
}
ROW = Row(
    reference,
    (
        # Equal keys first: (0.3 x 1 + 0.1 x 3) / 0.4.
        Case(_X, 3, [0, 2, 3], [[1.5], [5.0], [9.0]], scores=_SCORES),
        # Then the run of three: (0.3 + 0.3 + 2.0) / 0.8; masses play no part.
        Case(_X, 2, [0, 3], [[3.25], [9.0]], scores=_SCORES, mass=[5.0, 1.0, 1.0, 1.0]),
    ),
    conserves=True,
)
