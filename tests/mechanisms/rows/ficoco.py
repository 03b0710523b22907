"""FiCoCo-V, token by token."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Scores, the weakest of each window, then every token that leaves on its own."""
    keys, attention, n = given.scores["keys"], given.scores["cls_attention"], len(given.x)
    beta = float(str(given.params.get("beta", 0.35)))
    quantile = float(str(given.params.get("quantile", 0.998)))
    side = int(str(given.params.get("window", 2)))
    alike = np.array([[cosine(keys[i], keys[j]) for j in range(n)] for i in range(n)])
    redundant = alike.mean(1)
    score = beta * attention / np.linalg.norm(attention) - (1 - beta) * redundant / np.linalg.norm(redundant)
    windows: dict[tuple[int, int, int], list[int]] = {}
    for i, (t, y, x) in enumerate(given.places.tolist()):
        windows.setdefault((t, y // side, x // side), []).append(i)
    for members in windows.values():
        if len(members) > 1:
            weakest = min(members, key=lambda i: (score[i], i))
            score[weakest] *= 0.5 if score[weakest] > 0 else 2.0
    kept = sorted(sorted(range(n), key=lambda i: (-score[i], i))[:m])
    most = max(1, math.ceil((1 - quantile) * (m - 1) - 1e-9))
    total, weight = given.x.copy(), np.ones(n)
    for i in set(range(n)) - set(kept):
        targets = sorted(kept, key=lambda j: (-alike[i, j], j))[:most]
        shares = np.exp([alike[i, j] for j in targets])
        for j, share in zip(targets, shares / shares.sum(), strict=True):
            total[j] += share * given.x[i]
            weight[j] += share
    return kept, (total / weight[:, None])[kept]


# Windows {0, 1} and {2, 3}. The mean key is (0.65, 0.45), the mean cosines are 0.65, 0.65, 0.45 and 0.75, norm 1.269,
# which makes 0.512, 0.512, 0.355, 0.591. With attention of norm 1 the scores are 0.35 x attention - 0.65 x these.
_KEYS = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
_X = [[2.0], [4.0], [6.0], [12.0]]
_UNEVEN = {"cls_attention": [0.1, 0.7, 0.5, 0.5], "keys": _KEYS}
_EVEN = {"cls_attention": [0.5] * 4, "keys": _KEYS}
ROW = Row(
    reference,
    (
        # -0.298, -0.088, -0.055, -0.209; 0 and 3, the weakest of their windows, double. 0 leaves into its twin, 1.
        Case(_X, 3, [1, 2, 3], [[3.0], [6.0], [12.0]], grid=(1, 1, 4), scores=_UNEVEN),
        # Then 3, whose cosine is 0.6 to 1 and 0.8 to 2.
        Case(_X, 2, [1, 2], [[3.0], [9.0]], grid=(1, 1, 4), scores=_UNEVEN),
        # -0.158, -0.158, -0.055, -0.209: of the twins 0 is the one that doubles, so it leaves with 3 and not 1.
        Case(_X, 2, [1, 2], [[3.0], [9.0]], grid=(1, 1, 4), scores=_EVEN),
        # Above a quantile of 0 lie two of three survivors: 0 has cosine 1 to 1 and 0.6 to 3, that is e / (e + e^0.6) =
        # 0.59869 and 0.40131: (4 + 0.59869 x 2) / 1.59869 = 3.251026, (12 + 0.40131 x 2) / 1.40131 = 9.136168.
        Case(
            _X,
            3,
            [1, 2, 3],
            [[3.251026], [6.0], [9.136168]],
            grid=(1, 1, 4),
            scores=_UNEVEN,
            params={"quantile": 0.0},
        ),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"quantile": 0.7}, {"beta": 0.8, "quantile": 0.4, "window": 3}),
)
