"""OTPrune, with every determinant computed afresh from the covariance of the tokens."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """Add the token after which log det(I + gamma V S V') is largest; ties go to the earlier."""
    gamma = float(given.params.get("gamma", 0.01))  # type: ignore[arg-type]
    counted = given.x * np.sqrt(given.mass)[:, None]
    x = given.x / np.maximum(np.linalg.norm(counted, axis=0), 1e-12)
    moments = sum(w * np.outer(row, row) for w, row in zip(given.mass, x, strict=True))
    chosen: list[int] = []
    while len(chosen) < m:
        value = {}
        for i in range(len(x)):
            if i not in chosen:
                v = x[[*chosen, i]]
                value[i] = round(float(np.linalg.slogdet(np.eye(len(v)) + gamma * v @ moments @ v.T)[1]), 9)
        chosen.append(min(value, key=lambda i: (-value[i], i)))
    return sorted(chosen)


# Channels have norm 5 (3, 0, 4) and 2 (0, 2, 0): scaled they are 0.6, 0, 0.8 and 0, 1, 0. G is 0.36, 0, 0.48 / 0, 1, 0
# / 0.48, 0, 0.64, its square the same, since both channels have second moment 1: at gamma 1 the gains are 1.36, 2 and
# 1.64. Token 1 comes first, then 2, which it does not touch.
_X = [[3.0, 0.0], [0.0, 2.0], [4.0, 0.0]]
# Where token 1 counts three times, its channel has norm sqrt(3 x 4) and it gains 1 + 4/12; 1.36 and 1.64 stay.
# Channels 0 and 1 of norm 1 and 1, the second split over two tokens alike (0.707 each): G = 1, 0, 0 / 0, 0.5, 0.5 / 0,
# 0.5, 0.5 is its own square. At gamma 0.01 token 0 gains 1.01, then 1 and 2 gain 1.005 each: the earlier comes.
_TWINS = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
# Against scaling tokens: channel 1 is faint, yet its only token has all of it. Channel 0: 1, 1, 0 scaled by 1 / sqrt 2;
# channel 1: 0, 0, 0.01 scaled to 1.
_FAINT = [[1.0, 0.0], [1.0, 0.0], [0.0, 0.01]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [1], params={"gamma": 1.0}),
        Case(_X, 2, [1, 2], params={"gamma": 1.0}),
        Case(_X, 1, [2], mass=[1.0, 3.0, 1.0], params={"gamma": 1.0}),
        Case(_TWINS, 2, [0, 1]),
        Case(_FAINT, 1, [2]),
    ),
    permutes=True,
    params=({}, {"gamma": 1.0}),
)
