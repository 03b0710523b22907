"""A-ToMe, by cutting a list at its weakest links."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Join the most alike neighbours; what is joined in a row becomes one mean."""
    keys, x = given.scores["keys"], given.x
    alike = {i: cosine(keys[i], keys[i - 1]) for i in range(1, len(x))}
    links = sorted(alike, key=lambda i: (-alike[i], i))[: len(x) - m]
    if given.params.get("adaptive"):
        links += [i for i in alike if alike[i] > float(str(given.params.get("threshold", 0.85)))]
    heads = [i for i in range(len(x)) if i not in links]
    ends = [*heads[1:], len(x)]
    return heads, np.stack([x[a:b].mean(0) for a, b in zip(heads, ends, strict=True)])


_X = [[1.0], [3.0], [5.0], [9.0]]
_KEYS = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 2, 3], [[2.0], [5.0], [9.0]], scores={"keys": _KEYS}),
        Case(_X, 2, [0, 3], [[3.0], [9.0]], scores={"keys": _KEYS}),
        # Neighbours' cosines are 1, 0.98 and 0.2: the first two pass the default threshold, whatever the budget.
        Case(_X, 4, [0, 3], [[3.0], [9.0]], scores={"keys": _KEYS}, params={"adaptive": True}),
        Case(
            _X,
            4,
            [0, 2, 3],
            [[2.0], [5.0], [9.0]],
            scores={"keys": _KEYS},
            params={"adaptive": True, "threshold": 0.99},
        ),
        Case(_X, 1, [0], [[4.5]], scores={"keys": _KEYS}, params={"adaptive": True}),
    ),
    conserves=True,
    params=({}, {"adaptive": True, "threshold": 0.3}),
)
