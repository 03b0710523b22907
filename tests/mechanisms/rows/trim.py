"""TRIM, with lists."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, top


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The best tokens, and one mean of all others at the place of the best of them."""
    score, x = given.scores["text_similarity"], given.x
    if given.params.get("adaptive"):
        share = np.exp(score) / np.exp(score).sum()
        low, high = np.percentile(share, 25), np.percentile(share, 75)
        bound = high + float(str(given.params.get("whisker", 1.5))) * (high - low)
        m = min(m, int((share > bound).sum()) + 1)
    best = top(score, m - 1)
    rest = [i for i in range(len(x)) if i not in best]
    place = max(rest, key=lambda i: (score[i], -i))
    out = x.copy()
    out[place] = x[rest].mean(0)
    kept = sorted([*best, place])
    return kept, out[kept]


_X = [[1.0], [2.0], [4.0], [8.0], [16.0]]
_TEXT = [0.1, 0.9, 0.2, 0.0, 0.15]
ROW = Row(
    reference,
    (
        # 1 and 2 are the most alike to the text; the others' mean stands at 4, the best of them.
        Case(_X, 3, [1, 2, 4], [[2.0], [4.0], [25 / 3]], scores={"text_similarity": _TEXT}),
        Case(_X, 1, [1], [[31 / 5]], scores={"text_similarity": _TEXT}),
        # By mass, 0 counts three times.
        Case(
            _X,
            3,
            [1, 2, 4],
            [[2.0], [4.0], [27 / 5]],
            scores={"text_similarity": _TEXT},
            mass=[3.0, 1.0, 1.0, 1.0, 1.0],
        ),
        # Only 1 stands out: the quartiles of exp(cosine) are e^0.1 and e^0.2, so the bound is 1.395 = e^0.333.
        Case(_X, 4, [1, 2], [[2.0], [29 / 4]], scores={"text_similarity": _TEXT}, params={"adaptive": True}),
        Case(_X, 1, [1], [[31 / 5]], scores={"text_similarity": _TEXT}, params={"adaptive": True}),
        # Nobody stands out of a steady slope: all become one.
        Case(
            _X,
            4,
            [4],
            [[31 / 5]],
            scores={"text_similarity": [0.1, 0.2, 0.3, 0.4, 0.5]},
            params={"adaptive": True},
        ),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"adaptive": True}, {"adaptive": True, "whisker": 0.1}),
)
