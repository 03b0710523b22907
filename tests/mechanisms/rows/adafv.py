"""AdaFV, split by split."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """Try every number of salient tokens and keep the set that holds most of both attentions."""
    cosine, saliency = given.scores["text_similarity"], given.scores["cls_attention"]
    text = np.exp(float(str(given.params.get("scale", 100.0))) * (cosine - cosine.max()))
    text /= text.sum()
    best, most = [], -1.0
    for salient in range(m + 1):
        chosen = top(saliency, salient)
        for i in sorted(range(len(text)), key=lambda i: (-cosine[i], i)):
            if len(chosen) < m and i not in chosen:
                chosen.append(i)
        value = text[sorted(chosen)].sum() * saliency[sorted(chosen)].sum()
        if value > most:
            best, most = sorted(chosen), value
    return best


_X = [[0.0]] * 4
# Softmax of log p is p itself: text attention 0.4, 0.3, 0.2, 0.1; saliency rises the other way.
_TEXT = [float(np.log(p)) for p in (0.4, 0.3, 0.2, 0.1)]
_SALIENCY = [0.05, 0.05, 0.3, 0.6]
_BOTH = {"text_similarity": _TEXT, "cls_attention": _SALIENCY}
ROW = Row(
    reference,
    (
        # One token: 0 gives 0.4 x 0.05 = 0.02, 3 gives 0.1 x 0.6 = 0.06.
        Case(_X, 1, [3], scores=_BOTH, params={"scale": 1.0}),
        # Two: {0, 1} 0.7 x 0.1 = 0.07; {0, 3} 0.5 x 0.65 = 0.325; {2, 3} 0.3 x 0.9 = 0.27.
        Case(_X, 2, [0, 3], scores=_BOTH, params={"scale": 1.0}),
        # Three: {0, 1, 2} 0.9 x 0.4 = 0.36; {0, 1, 3} 0.8 x 0.7 = 0.56; {0, 2, 3} 0.7 x 0.95 = 0.665.
        Case(_X, 3, [0, 2, 3], scores=_BOTH, params={"scale": 1.0}),
        # A sharper text attention holds all its mass on 0: {0} gives 0.05, {3} about nothing.
        Case(_X, 1, [0], scores=_BOTH, params={"scale": 100.0}),
    ),
    permutes=True,
    params=({}, {"scale": 5.0}),
)
