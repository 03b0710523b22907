"""PACT: centres token by token, by the published sequential rule."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top


def _centres(distance: Array, order: list[int], bound: float) -> list[int]:
    """Tokens in order of density; a centre unless an earlier one lies within the bound."""
    centres: list[int] = []
    for i in order:
        if all(distance[i, c] > bound for c in centres):
            centres.append(i)
    return centres


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Prune, find the bound, cluster, bring pruned tokens back, average."""
    x, keys, n = given.x, given.scores["keys"], len(given.x)
    adaptive = bool(given.params.get("adaptive", False))
    unpruned = max(1, int(n * float(str(given.params.get("unpruned", 0.55)))))
    unpruned = unpruned if adaptive else max(unpruned, m)
    candidates = top(given.scores["global_query_attention"] * np.linalg.norm(x, axis=1), unpruned)
    distance = np.array(
        [[0.0 if i == j else max(0.0, 1 - cosine(keys[i], keys[j])) for j in range(n)] for i in range(n)]
    )
    density = {i: sum(np.exp(-((distance[i, j] / 2) ** 2)) for j in candidates) for i in candidates}
    order = sorted(candidates, key=lambda i: -density[i])

    low, high = float(str(given.params.get("bound", 0.21))) if adaptive else 0.0, 2.0
    if len(_centres(distance, order, low)) <= m:
        high = low
    for _ in range(12):
        middle = (low + high) / 2
        if len(_centres(distance, order, middle)) <= m:
            high = middle
        else:
            low = middle
    centres = _centres(distance, order, high)
    if not adaptive:
        rest = [i for i in candidates if i not in centres]
        rest.sort(key=lambda i: -min(distance[i, c] for c in centres))
        centres += rest[: m - len(centres)]

    centres.sort()
    clusters = {c: [c] for c in centres}
    for i in set(range(n)) - set(centres):
        near = min(centres, key=lambda c: distance[i, c])
        if i in candidates or distance[i, near] <= float(str(given.params.get("reach", 1.5))) * high:
            clusters[near].append(i)
    return centres, np.stack([np.average(x[clusters[c]], axis=0, weights=given.mass[clusters[c]]) for c in centres])


# Keys at 0, 10, 20, 80, 90 and 30 degrees; scores (attention x norm) leave all but 5, pruned. Among the five, density
# is highest for 2, then 1, then 0, then 3. Published bound 0.21 (a cosine of 0.79, 37.8 degrees): 2 is a centre and
# takes 0 and 1; 3 lies 60 degrees off and is one, 4 joins it. 5 is 10 degrees from 2, within 1.5 bounds, and returns.
# Of one survivor: 2 at the bound that reaches 4 (70 degrees, 0.66), of which 1.5 times reaches 5 too.
_X = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 4.0], [0.0, 2.0], [0.4, 0.0]]
_ANGLES = [0.0, 10.0, 20.0, 80.0, 90.0, 30.0]
_SCORES = {
    "keys": [[float(np.cos(np.radians(a))), float(np.sin(np.radians(a)))] for a in _ANGLES],
    "global_query_attention": [0.2, 0.2, 0.2, 0.2, 0.1, 0.1],
}
_WIDE = {"unpruned": 0.9}
ROW = Row(
    reference,
    (
        Case(_X, 4, [2, 3], [[1.6, 0.0], [0.0, 3.0]], scores=_SCORES, params=_WIDE | {"adaptive": True}),
        Case(_X, 2, [2, 3], [[2.0, 0.0], [0.0, 3.0]], scores=_SCORES, params=_WIDE | {"reach": 0.0}),
        Case(_X, 1, [2], [[6.4 / 6, 1.0]], scores=_SCORES, params=_WIDE),
        Case(_X, 6, [0, 1, 2, 3, 4, 5], scores=_SCORES),
    ),
    exact_flops=False,
    params=({}, {"adaptive": True}, {"unpruned": 0.9, "reach": 0.5}, {"adaptive": True, "bound": 0.8}),
)
