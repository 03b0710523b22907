"""ApET, token by token."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Sample, regress each token on the basis, keep the largest residuals, average the rest into them."""
    x, n = given.x, len(given.x)
    k = min(int(given.params.get("basis", 10)), m // 2)  # type: ignore[call-overload]
    basis: list[int] = []
    while len(basis) < k:
        others = [x.mean(0)] if not basis else [x[j] for j in basis]
        far = {i: min(np.linalg.norm(x[i] - other) for other in others) for i in range(n) if i not in basis}
        basis.append(min(far, key=lambda i: (-far[i], i)))
    seeds = x[basis]
    products = seeds @ seeds.T
    ridge = 1e-5 + 1e-6 * max(products.diagonal(), default=0.0)
    error = np.array(
        [
            np.linalg.norm(t - np.linalg.solve(products + ridge * np.eye(k), seeds @ t) @ seeds)
            if k
            else np.linalg.norm(t)
            for t in x
        ]
    )
    ranked = sorted((i for i in range(n) if i not in basis), key=lambda i: (-error[i], i))
    most = sorted(ranked[: m - k])
    group = {i: [i] for i in [*basis, *most]}
    for i in ranked[m - k :]:
        group[max(most, key=lambda j: (cosine(x[i], x[j]), -j))].append(i)
    kept = sorted(group)
    return kept, np.array([x[group[i]].mean(0) for i in kept])


# The mean is (2.5, 0.875): token 0, at distance 5.57, is the one basis token of two or three survivors. It reconstructs
# the first channel; of tokens 1, 2 and 3 the second is missed, 2, 1.5 and 0.
_X = [[8.0, 0.0], [0.0, 2.0], [1.0, 1.5], [1.0, 0.0]]
ROW = Row(
    reference,
    (
        # 1 is missed by most, and 2 and 3 flow into it: (0 + 1 + 1) / 3 and (2 + 1.5) / 3.
        Case(_X, 2, [0, 1], merged=[[8.0, 0.0], [2 / 3, 3.5 / 3]]),
        # 3 flows into 2, at cosine 0.55, rather than 1, at cosine 0; 0, at cosine 1, is a basis token.
        Case(_X, 3, [0, 1, 2], merged=[[8.0, 0.0], [0.0, 2.0], [1.0, 0.75]]),
        # Of a single survivor none is a basis token: nothing is reconstructed, and the longest one takes all.
        Case(_X, 1, [0], merged=[[2.5, 0.875]]),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"basis": 2}),
)
