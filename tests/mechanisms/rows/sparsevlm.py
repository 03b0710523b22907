"""SparseVLM, with lists of raters, tokens and clusters."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, noise, top


def clusters(given: Given, dropped: int) -> tuple[int, int]:
    """How many dropped tokens are recycled, and into how many."""
    recycle = float(str(given.params.get("recycle", 0.3)))
    if not dropped or not recycle:
        return 0, 0
    recycled = min(int(dropped * recycle) + 1, dropped)
    return recycled, min(recycled // int(str(given.params.get("tokens_per_cluster", 10))) + 1, recycled)


def peaks(x: Array, count: int, added: Array) -> tuple[list[int], dict[int, int]]:
    """Centres, and the centre that each point goes to."""
    n = len(x)
    distance = [[float(np.linalg.norm(x[i] - x[j])) / x.shape[1] ** 0.5 for j in range(n)] for i in range(n)]
    density = [float(np.exp(-np.mean([d**2 for d in sorted(distance[i])[:count]]))) for i in range(n)]
    if count == 1:
        density = [1.0] * n
    density = [d + float(a) for d, a in zip(density, added, strict=True)]
    widest = max(max(row) for row in distance)
    alone = []
    for i in range(n):
        denser = [j for j in range(n) if (density[j], -j) > (density[i], -i)]
        alone.append(min((distance[i][j] for j in denser), default=widest))
    centres = top(np.array(density) * np.array(alone), count)
    goes = {i: i if i in centres else min(centres, key=lambda c: (distance[i][c], c)) for i in range(n)}
    return centres, goes


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Raters, scores, split of the budget, clusters."""
    x, text, n = given.x, given.scores["text_features"], len(given.x)
    shares = []
    for token in x:
        products = np.array([token @ word for word in text])
        weights = np.exp(products - products.max())
        shares.append(weights / weights.sum())
    share = np.mean(shares, 0)
    raters = [t for t in range(len(text)) if share[t] > share.mean()]
    attention = given.scores["text_attention"][:, raters]
    score = attention.mean(1)

    select = max((k for k in range(1, n + 1) if k + clusters(given, n - k)[1] <= m), default=1)
    wanted = m - select
    rank = int(np.linalg.matrix_rank(attention))
    if given.params.get("adaptive") and rank < n:
        select = min(select, max(1, min(int(rank * float(str(given.params.get("scale", 13.5)))), n - 1)))
        wanted = min(m - select, clusters(given, n - select)[1])
    kept = top(score, select)
    out = x.copy()
    if wanted:
        dropped = [i for i in range(n) if i not in kept]
        pool = [dropped[i] for i in top(score[dropped], clusters(given, n - select)[0])]
        centres, goes = peaks(x[pool], wanted, noise(given, 0, len(pool)))
        for c in centres:
            members = [pool[i] for i in range(len(pool)) if goes[i] == c]
            out[pool[c]] = x[members].mean(0)
        kept = sorted([*kept, *(pool[c] for c in centres)])
    return kept, out[kept]


# Every token is alike to the first word, so it alone rates: by its attention 3 leads, then 0, 1, 2, 4.
# Of five tokens, 2 are kept and 3 dropped; int(0.3 x 3) + 1 = 1 of these, the best one, makes one cluster of its own.
_X = [[1.0, 0.0], [3.0, 0.0], [5.0, 0.0], [7.0, 0.0], [9.0, 0.0]]
_SCORES = {
    "text_features": [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0]],
    "text_attention": [[0.4, 9.0, 0.0], [0.3, 0.0, 9.0], [0.2, 9.0, 9.0], [0.5, 0.0, 0.0], [0.1, 9.0, 9.0]],
}
# All three recycled tokens make one cluster, at the first of them where all are equally dense.
_ALL = {"recycle": 1.0}
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 1, 3], scores=_SCORES),
        Case(_X, 1, [3], scores=_SCORES),
        Case(_X, 3, [0, 1, 3], [[1.0, 0.0], [17 / 3, 0.0], [7.0, 0.0]], scores=_SCORES, params=_ALL),
        Case(
            _X,
            3,
            [0, 1, 3],
            [[1.0, 0.0], [(3 * 3 + 5 + 9) / 5, 0.0], [7.0, 0.0]],
            scores=_SCORES,
            params=_ALL,
            mass=[1.0, 3.0, 1.0, 1.0, 1.0],
        ),
        Case(_X, 3, [0, 1, 3], scores=_SCORES, params={"recycle": 0.0}),
        # The raters' attention is one column, of rank 1: one token is kept, and one cluster of the best 2 of 4 left.
        Case(_X, 4, [0, 3], [[2.0, 0.0], [7.0, 0.0]], scores=_SCORES, params={"adaptive": True, "scale": 1.0}),
    ),
    exact_flops=False,
    params=(
        {},
        {"recycle": 0.9, "tokens_per_cluster": 4},
        {"adaptive": True, "scale": 3.0, "tokens_per_cluster": 3},
        {"recycle": 0.0},
        {"recycle": 0.9, "tokens_per_cluster": 4, "noise_seed": 5},
    ),
)
