"""CDPruner, with every volume computed afresh."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """Add the token that leaves the largest determinant of the kernel."""
    x, text = given.x, given.scores["text_similarity"]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    relevance = (text - text.min() + 1e-6) / (text.max() - text.min()) if len(text) > 1 else np.ones(1)
    share = float(given.params.get("relevance_weight", 1.0))  # type: ignore[arg-type]
    kernel = share * relevance[:, None] * (unit @ unit.T) * relevance[None] + (1 - share) * (unit @ unit.T)
    chosen: list[int] = []
    while len(chosen) < m:
        volume = {
            i: np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1]
            for i in range(len(x))
            if i not in chosen
        }
        chosen.append(max(volume, key=lambda i: volume[i]))
    return sorted(chosen)


# 1 is the most relevant; 0 points the same way and adds no volume, so the less relevant 2 comes next.
# The plane is spanned after two: from then on relevance alone decides.
_X = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
_TEXT = [0.9, 1.0, 0.5, 0.0]
ROW = Row(
    reference,
    (
        Case(_X, 1, [1], scores={"text_similarity": _TEXT}),
        Case(_X, 2, [1, 2], scores={"text_similarity": _TEXT}),
        Case(_X, 3, [0, 1, 2], scores={"text_similarity": _TEXT}),
        # Without relevance all are alike, and ties go to the earlier; 2 is the one orthogonal to it.
        Case(_X, 2, [0, 2], scores={"text_similarity": _TEXT}, params={"relevance_weight": 0.0}),
    ),
    permutes=True,
    params=({}, {"relevance_weight": 0.5}),
    width=64,  # wider than long, so that no gain is spent
)
