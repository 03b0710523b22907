"""Text-aware merging, token by token."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top


def scaled(score: Array) -> Array:
    """From 0 to 1."""
    low, high = score.min(), score.max()
    return (score - low) / (high - low) if high > low else np.zeros_like(score)


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The largest attention and cosine over the words, mixed; the others flow into their nearest."""
    x, words = given.x, given.scores["text_features"]
    share = float(str(given.params.get("similarity_share", 0.5)))
    alike = np.array([max((cosine(row, word) for word in words), default=0.0) for row in x])
    seen = given.scores["text_attention"].max(axis=1)
    kept = top((1 - share) * scaled(seen) + share * scaled(alike), m)
    groups = {i: [i] for i in kept}
    for i in range(len(x)):
        if i not in groups:
            groups[max(kept, key=lambda k, i=i: cosine(x[i], x[k]))].append(i)
    return kept, np.array([x[groups[i]].mean(axis=0) for i in kept])


# Attention 0.1, 0.2, 0.3, 0.5 is 0, 0.25, 0.5, 1 when scaled; cosines to the word are 0, 1, 1, 0: scores 0, 0.625,
# 0.75 and 0.5. Tokens 0 and 3 are like neither 1 nor 2 and flow into the first: ((0, 1) + (1, 0) + (3, 0)) / 3.
_X = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]
_TEXT = {
    "text_attention": [[0.0, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 0.5]],
    "text_features": [[0.0, 0.0], [0.0, 1.0]],
}
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 2], [[4 / 3, 1 / 3], [0, 2]], scores=_TEXT),
        Case(_X, 1, [2], [[1, 0.75]], scores=_TEXT),
        Case(_X, 1, [3], [[1, 0.75]], scores=_TEXT, params={"similarity_share": 0.0}),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"similarity_share": 0.8}),
)
