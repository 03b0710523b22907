"""FOLDER, round by round on groups of tokens."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Groups fold into each other; a group remembers its mean key, its place and its attention."""
    keys, mass = given.scores["keys"], given.mass
    attention = given.scores["received_attention"]
    weight = 100 * float(str(given.params.get("alpha", 5.0))) / 577
    reluctance = list(weight * attention / attention.mean())
    groups = [[i] for i in range(len(keys))]
    place = list(range(len(keys)))
    while len(groups) > m:
        mean = [np.average(keys[g], axis=0, weights=mass[g]) for g in groups]
        even, odd = list(range(0, len(groups), 2)), list(range(1, len(groups), 2))
        best = {i: max(odd, key=lambda j: (cosine(mean[i], mean[j]), -j)) for i in even}
        order = sorted(even, key=lambda i: (reluctance[i] - cosine(mean[i], mean[best[i]]), i))
        leaving = order[: min(len(groups) - m, len(groups) // 2)]
        for j in odd:
            met = [j, *(i for i in leaving if best[i] == j)]
            groups[j] = [token for i in met for token in groups[i]]
            reluctance[j] = float(np.mean([reluctance[i] for i in met]))
        stay = [i for i in range(len(groups)) if i not in leaving]
        groups, place, reluctance = ([part[i] for i in stay] for part in (groups, place, reluctance))
    return place, np.stack([np.average(given.x[g], axis=0, weights=mass[g]) for g in groups])


# Even tokens 0 and 2 each have an odd twin, 0 an exact one. Without attention 0 leaves; it receives twice the mean
# attention and 2 none, which at alpha 5 takes 1.73 off its cosine of 1 and nothing off 2's cosine of 0.8, so 2 leaves.
_X = [[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 4.0]]
_SCORES = {"keys": [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], "received_attention": [0.8, 0.4, 0.0, 0.4]}
ROW = Row(
    reference,
    (
        Case(_X, 3, [1, 2, 3], [[2.0, 0.0], [0.0, 2.0], [0.0, 4.0]], scores=_SCORES, params={"alpha": 0.0}),
        Case(_X, 3, [0, 1, 3], [[1.0, 0.0], [3.0, 0.0], [0.0, 3.0]], scores=_SCORES),
        Case(_X, 2, [1, 3], [[2.0, 0.0], [0.0, 3.0]], scores=_SCORES),
    ),
    conserves=True,
    params=({}, {"alpha": 0.5}, {"alpha": 0.0}),
)
