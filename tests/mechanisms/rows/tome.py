"""ToMe, group by group."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Rounds of matching between groups in even and in odd places."""
    keys, x = given.scores["keys"], given.x
    groups = [[i] for i in range(len(x))]
    place = list(range(len(x)))
    window = float(str(given.params.get("window", "inf")))
    while len(groups) > m:
        mean = [keys[g].mean(0) for g in groups]
        even, odd = list(range(0, len(groups), 2)), list(range(1, len(groups), 2))
        best = {
            i: max((j for j in odd if abs(i - j) <= window), key=lambda j: (cosine(mean[i], mean[j]), -j)) for i in even
        }
        order = sorted(even, key=lambda i: (-cosine(mean[i], mean[best[i]]), i))
        leaving = order[: min(len(groups) - m, len(groups) // 2)]
        for i in leaving:
            groups[best[i]] = groups[best[i]] + groups[i]
        groups = [g for i, g in enumerate(groups) if i not in leaving]
        place = [p for i, p in enumerate(place) if i not in leaving]
    return place, np.stack([x[g].mean(0) for g in groups])


# Evens 0 and 2, odds 1 and 3: 0 is like 3, so it flows there and takes its place.
_X = [[2.0, 0.0], [0.0, 2.0], [1.0, 5.0], [4.0, 0.0]]
_KEYS = [[1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [1.0, 0.01]]
ROW = Row(
    reference,
    (
        Case(_X, 3, [1, 2, 3], [[0.0, 2.0], [1.0, 5.0], [3.0, 0.0]], scores={"keys": _KEYS}),
        Case(
            _X,
            3,
            [1, 2, 3],
            [[0.0, 2.0], [1.0, 5.0], [2.5, 0.0]],
            scores={"keys": _KEYS},
            mass=[3.0, 1.0, 1.0, 1.0],
        ),
        # Not farther than the next place, 0 has 1 (cosine 0), and 2 has 1 (0.894) rather than 3 (0.456).
        Case(
            _X,
            3,
            [0, 1, 3],
            [[2.0, 0.0], [0.5, 3.5], [4.0, 0.0]],
            scores={"keys": _KEYS},
            params={"window": 1},
        ),
    ),
    conserves=True,
    params=({}, {"window": 1}, {"window": 4}),
)
