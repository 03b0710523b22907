"""SEATS's second stage, window by window."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, top
from .speechprune import shares


def reference(given: Given, m: int) -> list[int]:
    """A softmax of the means, a count for each window, and its highest scores."""
    attention = given.scores["last_query_attention"]
    seconds = float(str(given.params.get("seconds", 2.0)))
    window = [int(t / seconds + 1e-4) for t, _, _ in given.places]
    members = [[i for i, w in enumerate(window) if w == number] for number in range(max(window) + 1)]
    mean = np.array([attention[group].mean() if group else -np.inf for group in members])
    weights = np.exp((mean - mean.max()) / float(str(given.params.get("temperature", 0.1))))
    kept = list[int]()
    for group, count in zip(members, shares([float(w) for w in weights], [len(g) for g in members], m), strict=True):
        kept += [group[i] for i in top(attention[group], count)]
    return sorted(kept)


# Two windows of two seconds, means 0.2 and 0.3: at temperature 0.1 the softmax is 1 / (1 + e) = 0.269 and 0.731. Of 2
# tokens that is 0.54 and 1.46: one each. Of 3 it is 0.81 and 2.19, but the second window has no more than 2.
_X = [[1.0], [2.0], [3.0], [4.0]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 2], scores={"last_query_attention": [0.1, 0.3, 0.4, 0.2]}),
        Case(_X, 3, [1, 2, 3], scores={"last_query_attention": [0.1, 0.3, 0.4, 0.2]}),
        # A hundredth of the temperature: the second window takes all.
        Case(_X, 2, [2, 3], scores={"last_query_attention": [0.1, 0.3, 0.4, 0.2]}, params={"temperature": 0.001}),
    ),
    permutes=True,
    params=({}, {"seconds": 1.0}, {"temperature": 1.0, "seconds": 5.0}),
)
