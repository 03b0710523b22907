"""iLLaVA, from the least attended token up."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The tokens that go and one more, by rising attention, are averaged with falling weights."""
    attention, n = given.scores["received_attention"], len(given.x)
    rising = sorted(range(n), key=lambda i: (attention[i], -i))
    low = rising[: n - m + 1]
    out = given.x.copy()
    out[low[-1]] = np.average(given.x[low], axis=0, weights=np.arange(len(low), 0, -1))
    kept = sorted(rising[n - m :])
    return kept, out[kept]


# By falling attention 1, 3, 0, 2. Two stay, 1 and 3; 3, 0 and 2 are averaged with weights 1, 2 and 3:
# (12 x 1 + 3 x 2 + 6 x 3) / 6 = 6.
_X = [[3.0], [1.0], [6.0], [12.0]]
_SCORES = {"received_attention": [0.2, 0.4, 0.1, 0.3]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], [[1.0], [6.0]], scores=_SCORES),
        # One token takes in all: (1 x 1 + 12 x 2 + 3 x 3 + 6 x 4) / 10 = 5.8, whatever the tokens stand for.
        Case(_X, 1, [1], [[5.8]], scores=_SCORES, mass=[5.0, 1.0, 1.0, 1.0]),
    ),
    conserves=True,
    permutes=True,
)
