"""DART, pivot by pivot on lists."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Pivots take turns in keeping the tokens least like them; the first ones keep one more where it is uneven."""
    keys, text_keys = given.scores["keys"], given.scores["text_keys"]
    own_pivots = int(str(given.params.get("item_pivots", 4)))
    text_pivots = int(str(given.params.get("text_pivots", 4)))
    by_norm = sorted(range(len(keys)), key=lambda i: -np.abs(keys[i]).sum())
    own = by_norm[: min(own_pivots, m)]
    text = sorted(range(len(text_keys)), key=lambda i: -np.abs(text_keys[i]).sum())[:text_pivots]
    pivots: list[Array] = [given.x[i] for i in own] + [given.scores["text_features"][i] for i in text]

    kept = set(own)
    free = [i for i in range(len(keys)) if i not in kept]
    for turn, pivot in enumerate(pivots):
        share = [0] * len(pivots)
        for token in range(m - len(own)):
            share[token % len(pivots)] += 1
        free.sort(key=lambda i: cosine(pivot, given.x[i]))
        kept |= set(free[: share[turn]])
        free = free[share[turn] :]
    return sorted(kept)


# One pivot each: key norms 5, 1, 1, 1, 1 make token 0 the item's, norms 1 and 2 make the second text token the text's.
# Token 0 points right, so it keeps token 3 first (left) and token 4 (cosine 0) next; the text pivot points up and keeps
# token 2 (down). Three survivors: the pivot and one of each. Four: the remainder goes to the item's pivot.
_X = [[1.0, 0.0], [1.0, 0.1], [0.6, -0.8], [-1.0, 0.1], [0.0, 1.0]]
_SCORES = {
    "keys": [[3.0, -2.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]],
    "text_keys": [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]],
    "text_features": [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
}
_ONE = {"item_pivots": 1, "text_pivots": 1}
ROW = Row(
    reference,
    (
        Case(_X, 1, [0], scores=_SCORES, params=_ONE),
        Case(_X, 2, [0, 3], scores=_SCORES, params=_ONE),
        Case(_X, 3, [0, 2, 3], scores=_SCORES, params=_ONE),
        Case(_X, 4, [0, 2, 3, 4], scores=_SCORES, params=_ONE),
    ),
    permutes=True,
    params=({}, {"item_pivots": 2, "text_pivots": 1}, {"text_pivots": 0}),
)
