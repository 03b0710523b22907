"""Unified spatiotemporal compression, token by token."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine
from .prunevid import peaks


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Tokens enter the pool by falling attention, if unlike those in it; the others are clustered."""
    x, params, n = given.x, given.params, len(given.x)
    share, limit = float(str(params.get("cluster_share", 0.3))), float(str(params.get("threshold", 0.7)))
    wanted = m - int(m * share + 1e-9)
    pool: list[int] = []
    for i in sorted(range(n), key=lambda i: (-given.scores["cls_attention"][i], i)):
        if len(pool) < wanted and all(cosine(x[i], x[p]) < limit for p in pool):
            pool.append(i)
    out = {i: x[i] for i in pool}
    rest = [i for i in range(n) if i not in pool]
    if m > len(pool):
        for centre, group in peaks(
            x[rest], m - len(pool), int(str(params.get("neighbours", 7))), np.zeros(len(rest))
        ).items():
            out[rest[centre]] = x[[rest[i] for i in group]].mean(axis=0)
    return sorted(out), np.array([out[i] for i in sorted(out)])


# Tokens 0 and 2 are unlike; 1 is like 0 and 3 like 2. Of 2 survivors int(0.6) = 0 are clusters; of 3 none either, but
# the pool lacks one: 1 and 3 are as dense as each other, so 1 is the centre of both.
_X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]
_SEEN = {"cls_attention": [0.9, 0.8, 0.7, 0.1]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 2], scores=_SEEN),
        Case(_X, 3, [0, 1, 2], [[1, 0], [1, 1.5], [0, 1]], scores=_SEEN),
        # One cluster of 1, 2 and 3: halves of squared distances 2.5 (1, 2), 6.5 (1, 3) and 2 (2, 3): 2 is the densest.
        Case(_X, 2, [0, 2], [[1, 0], [2 / 3, 4 / 3]], scores=_SEEN, params={"cluster_share": 0.5}),
    ),
    permutes=True,
    exact_flops=False,
    params=({}, {"threshold": 0.2, "cluster_share": 0.6}, {"threshold": -0.3, "neighbours": 3}),
)
