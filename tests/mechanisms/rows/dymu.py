"""DyMU, group by group."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The first round takes every pair above the threshold, or as many as the budget asks for; then it is ToMe."""
    keys, mass, n = given.scores["keys"], given.mass, len(given.x)
    bar = float(str(given.params.get("threshold", 1.0))) if given.params.get("adaptive") else None
    groups = [[i] for i in range(n)]
    place = list(range(n))
    while bar is not None or len(groups) > m:
        mean = [np.average(keys[g], axis=0, weights=mass[g]) for g in groups]
        odd = range(1, len(groups), 2)
        pairs = []
        for i in range(0, len(groups), 2):
            if len(groups) > 1:
                j = max(odd, key=lambda j: (cosine(mean[i], mean[j]), -j))
                pairs.append((-cosine(mean[i], mean[j]), i, j))
        wanted = max(0, min(len(groups) - m, len(groups) // 2))
        if bar is not None:
            wanted = max(wanted, sum(-value > bar for value, _, _ in pairs))
            bar = None
        leaving = sorted(pairs)[:wanted]
        for _, i, j in leaving:
            groups[j] = groups[j] + groups[i]
        gone = {i for _, i, _ in leaving}
        groups = [g for i, g in enumerate(groups) if i not in gone]
        place = [p for i, p in enumerate(place) if i not in gone]
    return place, np.stack([np.average(given.x[g], axis=0, weights=mass[g]) for g in groups])


# Even tokens 0 and 2; 0 is like 1 with cosine 1, 2 is like 3 with 0.8. A threshold of 0.9 lets 0 go, one of 0.7 both.
_X = [[2.0], [4.0], [6.0], [12.0]]
_KEYS = {"keys": [[2.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]}
ROW = Row(
    reference,
    (
        Case(_X, 4, [1, 2, 3], [[3.0], [6.0], [12.0]], scores=_KEYS, params={"adaptive": True, "threshold": 0.9}),
        Case(_X, 4, [1, 3], [[3.0], [9.0]], scores=_KEYS, params={"adaptive": True, "threshold": 0.7}),
        # Above 0.9 there is one pair, but the budget asks for two.
        Case(_X, 2, [1, 3], [[3.0], [9.0]], scores=_KEYS, params={"adaptive": True, "threshold": 0.9}),
        Case(_X, 3, [1, 2, 3], [[3.0], [6.0], [12.0]], scores=_KEYS),
        # By mass: (3 x 2 + 1 x 4) / 4 = 2.5.
        Case(_X, 3, [1, 2, 3], [[2.5], [6.0], [12.0]], scores=_KEYS, mass=[3.0, 1.0, 1.0, 1.0]),
    ),
    conserves=True,
    exact_flops=False,
    params=({}, {"adaptive": True, "threshold": 0.5}, {"adaptive": True, "threshold": -1.0}),
)
