"""OmniZip's audio step, list by list."""

from __future__ import annotations

import math

import numpy as np

from autotc.mechanisms import Score

from ..kit import Array, Case, Given, Row, cosine, top


def anchored(x: Array, dominant: list[int], wanted: int, group: int) -> tuple[list[int], Array]:
    """Anchors at a stride; a plan of what each anchor takes; the plan carried out."""
    rest = [i for i in range(len(x)) if i not in dominant]
    anchors = rest[:: max(1, len(rest) // wanted)][:wanted] if wanted else []
    plan: dict[int, list[int]] = {a: [] for a in anchors}
    for i in rest:
        if anchors and i not in anchors:
            plan[max(anchors, key=lambda a: (cosine(x[i], x[a]), -a))].append(i)
    out = {i: x[i] for i in dominant}
    for a, members in plan.items():
        chosen = sorted(members, key=lambda i: (-cosine(x[i], x[a]), i))[:group]
        weights = [math.exp(cosine(x[i], x[a])) for i in chosen]
        mixed = sum((w * x[i] for w, i in zip(weights, chosen, strict=True)), np.zeros_like(x[a]))
        out[a] = (x[a] + mixed / sum(weights)) / 2 if chosen else x[a]
    return sorted(out), np.stack([out[i] for i in sorted(out)])


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Dominant tokens, then the anchors."""
    wanted = min(int(len(given.x) * float(str(given.params.get("contextual_ratio", 0.05))) + 0.5), m - 1)
    group = int(str(given.params.get("group", 3)))
    return anchored(given.x, top(given.scores["received_attention"], m - wanted), wanted, group)


# 0 and 5 are salient. Of the rest, 1 to 4, one anchor in four: 1. It takes the one most like it, 3 (cosine 1), with a
# softmax of 1, and becomes their mean; with two, 2 (cosine 0) joins with weight 1 / (1 + e).
_X = [[9.0, 9.0], [2.0, 0.0], [0.0, 4.0], [6.0, 0.0], [-1.0, 0.0], [8.0, 8.0]]
_SEEN: dict[Score, object] = {"received_attention": [0.9, 0.1, 0.2, 0.1, 0.1, 0.8]}
_LATE = 1 / (1 + math.e)
ROW = Row(
    reference,
    (
        Case(
            _X,
            3,
            [0, 1, 5],
            [[9.0, 9.0], [4.0, 0.0], [8.0, 8.0]],
            scores=_SEEN,
            params={"contextual_ratio": 0.2, "group": 1},
        ),
        Case(
            _X,
            3,
            [0, 1, 5],
            [[9.0, 9.0], [(2.0 + 6.0 * (1 - _LATE)) / 2, 2.0 * _LATE], [8.0, 8.0]],
            scores=_SEEN,
            params={"contextual_ratio": 0.2, "group": 2},
        ),
        # A twentieth of six tokens is none: salient tokens alone.
        Case(_X, 2, [0, 5], scores=_SEEN),
    ),
    params=(
        {"contextual_ratio": 0.3},
        {},
        {"contextual_ratio": 0.2, "group": 1},
        {"contextual_ratio": 0.5, "group": 0},
    ),
)
