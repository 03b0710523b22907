"""FastV: the top of the last token's attention."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top


def reference(given: Given, m: int) -> list[int] | tuple[list[int], Array]:
    """The highest scores; recycled, each dropped token in turn is averaged into the kept one most like it."""
    kept = top(given.scores["last_query_attention"], m)
    if not given.params.get("recycle"):
        return kept
    out = {k: given.x[k] for k in kept}
    for i in range(len(given.x)):
        if i not in out:
            k = max(kept, key=lambda j: (cosine(given.x[i], given.x[j]), -j))
            out[k] = (out[k] + given.x[i]) / 2
    return kept, np.stack([out[k] for k in kept])


_X = [[0.0], [0.0], [0.0], [0.0]]
_SCORES = {"last_query_attention": [0.1, 0.4, 0.2, 0.4]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], scores=_SCORES),
        Case(_X, 1, [1], scores=_SCORES),  # ties go to the earlier
        # 0 and 2 are like 3: ((2 + 8) / 2 + 4) / 2.
        Case(
            [[8.0, 0.0], [0.0, 1.0], [4.0, 0.0], [2.0, 0.0]],
            2,
            [1, 3],
            [[0.0, 1.0], [4.5, 0.0]],
            scores=_SCORES,
            params={"recycle": True},
        ),
    ),
    # Recycled, the order in which tokens arrive counts.
    params=({}, {"recycle": True}),
)
