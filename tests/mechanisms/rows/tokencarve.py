"""TokenCarve, by a singular value decomposition of the features and sorted lists."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def order(score: Array) -> list[int]:
    """Tokens by falling score, to nine decimals of the largest; ties go to the earlier."""
    scaled = np.round(score / max(float(np.abs(score).max()), 1e-30), 9)
    return sorted(range(len(score)), key=lambda i: (-scaled[i], i))


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Two lists, their mean, its upper and lower half."""
    x, n = given.x, len(given.x)
    attention = given.scores["last_query_attention"]
    share, wide = float(given.params.get("attention", 0.5)), float(given.params.get("candidates", 1.5))  # type: ignore[arg-type]
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    information = order(np.abs(left * singular).sum(1))
    attended = sorted(range(n), key=lambda i: (-attention[i], i))
    rank = [share * attended.index(i) + (1 - share) * information.index(i) for i in range(n)]
    count = min(n, int(wide * m + 1e-9))
    best = sorted(range(n), key=lambda i: (round(rank[i], 6), i))[:count]
    upper, lower = best[: count // 2], best[count // 2 :]
    alike = {i: max((cosine(x[i], x[j]) for j in upper), default=0.0) for i in lower}
    merged = sorted(lower, key=lambda i: (-alike[i], i))[: count - m]
    kept = sorted({*best} - {*merged})
    members = {k: [k] for k in kept}
    for i in merged:
        members[max(sorted(upper), key=lambda j: cosine(x[i], x[j]))].append(i)
    return kept, np.array([x[members[k]].mean(0) for k in kept])


# The singular vectors are the axes, so that a token's information is the sum of its absolute components: 4, 4.2, 3, 1
# and 0.5. Ranks by information 1, 0, 2, 3, 4; by attention 4, 0, 2, 1, 3; sums 5, 0, 4, 4, 7. Of a budget of 2, three
# are not pruned: 1, 2 and 3. The upper half is token 1 alone; of 2 and 3, token 2 points as it does and merges into it.
_X = [[0.0, 4.0, 0.0], [4.2, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.0]]
_ATTENTION = {"last_query_attention": [0.1, 0.5, 0.3, 0.4, 0.2]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], merged=[[3.6, 0.0, 0.0], [0.0, 0.0, 1.0]], scores=_ATTENTION),
        # By mass 1 and 3 the average is (4.2 + 3 x 3) / 4 = 3.3.
        Case(
            _X,
            2,
            [1, 3],
            merged=[[3.3, 0.0, 0.0], [0.0, 0.0, 1.0]],
            scores=_ATTENTION,
            mass=[1.0, 1.0, 3.0, 1.0, 1.0],
        ),
        # By information alone 1, 0 and 2 are not pruned; token 2 merges into token 1.
        Case(
            _X,
            2,
            [0, 1],
            merged=[[0.0, 4.0, 0.0], [3.6, 0.0, 0.0]],
            scores=_ATTENTION,
            params={"attention": 0.0},
        ),
        # No candidates beyond the budget: nothing merges.
        Case(_X, 2, [1, 2], scores=_ATTENTION, params={"candidates": 1.0}),
        Case(_X, 1, [1], scores=_ATTENTION),
    ),
    params=({}, {"attention": 0.3}, {"candidates": 1.9}),
)
