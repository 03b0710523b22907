"""Affinity Pooling, token by token, at the threshold that leaves the budget."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def scan(x: Array, threshold: float, lookback: int) -> list[list[int]]:
    """The published rule: join the active run, or close it."""
    runs = [[0]]
    for i in range(1, len(x)):
        if max(cosine(x[i], x[j]) for j in runs[-1][-lookback:]) > threshold:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The lowest threshold between two cosines that leaves at least as many runs, then the earliest joins more."""
    x, n = given.x, len(given.x)
    lookback = int(str(given.params.get("lookback", 1)))
    cosines = sorted(cosine(x[i], x[j]) for i in range(n) for j in range(max(i - lookback, 0), i))
    runs = scan(x, -2.0, lookback)
    for threshold in cosines:
        if len(runs) >= m:
            break
        runs = scan(x, threshold, lookback)
    above = runs
    if len(runs) > m:
        # Tokens that part at one and the same threshold: the later ones part first.
        index = cosines.index(threshold) - 1 if threshold in cosines else len(cosines) - 1
        below = scan(x, -2.0 if index == 0 else cosines[index - 1], lookback)
        new = sorted({r[0] for r in above} - {r[0] for r in below})
        heads = sorted({r[0] for r in below} | set(new[len(new) - (m - len(below)) :]))
        above = [list(range(a, b)) for a, b in zip(heads, [*heads[1:], n], strict=True)]
    if given.params.get("adaptive"):
        runs = scan(x, float(str(given.params.get("threshold", 0.8))), lookback)
        above = runs if len(runs) <= m else above
    return [r[0] for r in above], np.stack([x[r].mean(0) for r in above])


# Cosines to the token before: 0.8, 0, 0.8, 0.6. To the second before: 0.6, 0.6, 0.
_X = [[1.0, 0.0], [0.8, 0.6], [-0.6, 0.8], [0.0, 1.0], [0.8, 0.6]]
# Token 2 is at right angles to 1, and at 0.96 to 3.
_BACK = [[1.0, 0.0], [0.6, 0.8], [1.0, 0.1], [0.0, 1.0]]
ROW = Row(
    reference,
    (
        # The links are 0.8, 0, 0.8, 0.6: three joins leave two runs, cut before 2.
        Case(_X, 2, [0, 2], [[0.9, 0.3], [0.2 / 3, 2.4 / 3]]),
        # In _BACK the links are 0.6, (0.6 + 0.08) / 1.005 = 0.677 and 0.0995. With a lookback of 2, token 2 joins by 0
        # (0.995) while 1 has joined (0.6), so 0.677 remains; token 3 joins by 1 (0.8) while 2 has joined: 0.677.
        Case(_BACK, 3, [0, 1, 3], [[1.0, 0.0], [0.8, 0.45], [0.0, 1.0]]),
        Case(_BACK, 2, [0, 1], [[1.0, 0.0], [1.6 / 3, 1.9 / 3]], params={"lookback": 2}),
        # All above 0.65: as far as 2 and 3 go, which leaves two, fewer than the three allowed.
        Case(
            _BACK,
            3,
            [0, 1],
            [[1.0, 0.0], [1.6 / 3, 1.9 / 3]],
            params={"lookback": 2, "adaptive": True, "threshold": 0.65},
        ),
    ),
    conserves=True,
    params=({}, {"lookback": 3}, {"lookback": 2, "adaptive": True, "threshold": 0.3}),
)
