"""AnchorPrune, step by step as the paper tells it."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Walk down the ranking counting new tokens, then add by importance times distance."""
    x, words, weight = given.x, given.scores["text_features"], given.scores["cls_attention"]
    number = {name: float(given.params.get(name, value)) for name, value in _DEFAULTS.items()}  # type: ignore[arg-type]
    words = words[np.abs(words).sum(1) > 0]
    anchor: list[int] = []
    if len(words):
        ranked = sorted(range(len(x)), key=lambda i: (-max(cosine(x[i], word) for word in words), i))
        least = min(m, max(1, int(m * number["least"] + 0.5)))
        most = max(least, int(m * number["most"] + 1e-9))
        anchor, seen = ranked[:least], 0
        for token in ranked[least:most]:
            seen += min(1 - cosine(x[token], x[other]) for other in ranked[:least]) > number["novelty"]
            anchor.append(token)
            if seen == number["patience"]:
                break
    chosen = list(anchor)
    while len(chosen) < m:
        value = {
            i: weight[i] * min([1.0, *(1 - cosine(x[i], x[j]) for j in chosen)])
            for i in range(len(x))
            if i not in chosen
        }
        chosen.append(min(value, key=lambda i: (-value[i], i)))
    return sorted(chosen)


_DEFAULTS = {"least": 5 / 32, "most": 0.5, "novelty": 0.2, "patience": 3}

# The word points as token 0 does: cosines 1, 0.8, 0.6, 0 and -1. Of 2 survivors round(2 x 5/32) = 0, at least 1 and at
# most 1, is the anchor: token 0. Distances to it are 0.2, 0.4, 1 and 2, which counts as 1; times 0.3, 0.3, 0.1 and 0.2
# that is 0.06, 0.12, 0.1 and 0.2: token 4.
_X = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]
_SCORES = {"text_features": [[0.0, 0.0], [2.0, 0.0]], "cls_attention": [0.1, 0.3, 0.3, 0.1, 0.2]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 4], scores=_SCORES),
        # Of 4, the anchor has 1 to 2: token 1 joins, new or not, as three new ones are waited for. Then 4 (0.2), and 3:
        # nearest to 1, 0.1 x 0.4 = 0.04, before 2, nearest to 1 as well, 0.3 x (1 - 0.96) = 0.012.
        Case(_X, 4, [0, 1, 3, 4], scores=_SCORES),
        # With a patience of 1 and up to 3 of 4, token 2 (distance 0.4) is the first new one at novelty 0.3, and the
        # last; then 4, at most 1 from all, 0.2.
        Case(_X, 4, [0, 1, 2, 4], scores=_SCORES, params={"most": 1.0, "novelty": 0.3, "patience": 1}),
        # Without a query importance alone starts: 1 comes before 2, then 4 (0.2 x 1), then 0 (0.1 x 0.2 = 0.02) behind
        # 3 (0.1 x 0.4) and 2 (0.3 x 0.04).
        Case(_X, 3, [1, 3, 4], scores={**_SCORES, "text_features": [[0.0, 0.0]]}),
    ),
    permutes=True,
    exact_flops=False,
    params=({}, {"least": 0.3, "most": 0.8, "novelty": 0.9, "patience": 1}, {"patience": 2, "least": 0.0}),
)
