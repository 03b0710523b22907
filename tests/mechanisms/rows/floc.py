"""FLoC, by plain greedy selection."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """The whole objective is summed anew for every candidate of every step."""
    x, n = given.x, len(given.x)
    alike = [[max(cosine(x[i], x[j]), 0.0) for j in range(n)] for i in range(n)]
    chosen: list[int] = []
    while len(chosen) < m:
        value = {}
        for candidate in range(n):
            if candidate not in chosen:
                total = sum(max(alike[i][j] for j in [*chosen, candidate]) for i in range(n))
                value[candidate] = round(total, 9)
        chosen.append(min(value, key=lambda j: (-value[j], j)))
    return sorted(chosen)


# Token 1 has cosine 0.8 to 0 and to 2, these two have 0.28 to each other: it covers 0.8 + 1 + 0.8 = 2.6, tokens 0 and 2
# cover 1 + 0.8 + 0.28 = 2.08, token 3 points away and covers itself alone. Then 3 adds 1, and 0 or 2 add 0.2.
_X = [[1.0, 0.0], [0.8, 0.6], [0.28, 0.96], [-0.96, -0.28]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [1]),
        Case(_X, 2, [1, 3]),
        Case(_X, 3, [0, 1, 3]),
        Case(_X, 2, [0, 1], mass=[9.0, 4.0, 1.0, 0.5]),  # 0 covers 9 + 3.2 + 0.28; then 1 adds 0.8 + 0.52, 3 adds 0.5
    ),
)
