"""G-Prune, with the matrix raised to its power."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine, top


def reference(given: Given, m: int) -> list[int]:
    """Row-stochastic matrix of the connections, to the power of the steps; norms flow through it."""
    x, n = given.x, len(given.x)
    threshold = float(str(given.params.get("threshold", 0.5)))
    temperature = float(str(given.params.get("temperature", 0.03)))
    steps = int(str(given.params.get("steps", 5)))
    matrix = np.zeros((n, n))
    degree = np.zeros(n)
    for i in range(n):
        for j in range(n):
            likeness = 1.0 if i == j else cosine(x[i], x[j])
            if likeness >= threshold:
                matrix[i, j] = np.exp((likeness - 1) / temperature)
                degree[i] += 1
        matrix[i] /= matrix[i].sum()
    flow = np.linalg.norm(x, axis=1) @ np.linalg.matrix_power(matrix, steps)
    return top(flow / degree, m)


# Tokens 0 and 1 are alike (cosine 1), 2 is connected to neither. Softmax over equal cosines shares evenly, so that 0
# and 1 end with half of 3 + 1 each, per two connections 1; token 2 keeps its 1.5, per one connection. By norm alone,
# 0 would be first. With a threshold above every cosine no token passes anything on and the norm decides.
_X = [[3.0, 0.0], [1.0, 0.0], [0.0, 1.5]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [2]),
        Case(_X, 2, [0, 2]),
        Case([[3.0, 0.0], [1.0, 0.2], [0.0, 1.5]], 1, [0], params={"threshold": 1.0}),
    ),
    permutes=True,
    params=({}, {"threshold": 0.2, "temperature": 0.3, "steps": 2}),
)
