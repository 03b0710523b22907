"""ID-Selection, pick by pick."""

from __future__ import annotations

import math

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Every pick lowers the scores of all tokens, one by one."""
    x, gamma = given.x, float(given.params.get("gamma", 20.0))  # type: ignore[arg-type]
    raw = given.scores["cls_attention"]
    width = raw.max() - raw.min()
    score = [float(value - raw.min()) / float(width or 1.0) for value in raw]
    chosen: list[int] = []
    while len(chosen) < m:
        best = min((i for i in range(len(x)) if i not in chosen), key=lambda i: (-score[i], i))
        chosen.append(best)
        taken = max(score[best], 0.0)
        for i in range(len(x)):
            score[i] -= math.exp(-gamma * max(1 - cosine(x[i], x[best]), 0.0) ** 2) * taken
    return sorted(chosen)


# Attention 0.5, 0.4, 0.2 and 0.1 is 1, 0.75, 0.25 and 0 when scaled. 0 comes first; token 1, at distance 0.2, loses
# exp(-20 x 0.04) = 0.449 and has 0.301 left. Token 2, at distance 1, loses next to nothing of its 0.25; token 3, at
# 0.4, goes below zero by exp(-3.2) = 0.041. So 1 comes next.
_X = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]
_ATTENTION = {"cls_attention": [0.5, 0.4, 0.2, 0.1]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 1], scores=_ATTENTION),
        # The flatter, the farther suppression reaches: exp(-2 x 0.04) = 0.923 leaves token 1 -0.173, exp(-2) = 0.135
        # leaves token 2 0.115.
        Case(_X, 2, [0, 2], scores=_ATTENTION, params={"gamma": 2.0}),
        # At gamma 0 every score falls by 1: -0.25, -0.75 and -1 are ranked as before.
        Case(_X, 3, [0, 1, 2], scores=_ATTENTION, params={"gamma": 0.0}),
    ),
    permutes=True,
    params=({}, {"gamma": 3.0}),
)
