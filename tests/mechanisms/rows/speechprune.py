"""SpeechPrune's first phase, window by window."""

from __future__ import annotations

import math

import numpy as np

from autotc.mechanisms import Score

from ..kit import Case, Given, Row, cosine, top


def shares(weights: list[float], room: list[int], m: int) -> list[int]:
    """Windows that their share would overfill are filled, the others share what is left; then largest remainders."""
    filled: set[int] = set()
    while True:
        free = [i for i in range(len(room)) if i not in filled]
        left = m - sum(room[i] for i in filled)
        share = {i: left * weights[i] / sum(weights[j] for j in free) for i in free}
        over = {i for i in free if share[i] > room[i] - 1e-9}
        if not over:
            break
        filled |= over
    out = [room[i] if i in filled else math.floor(share[i] + 1e-9) for i in range(len(room))]
    for i in sorted(free, key=lambda i: (round(math.floor(share[i] + 1e-9) - share[i], 6), i))[: m - sum(out)]:
        out[i] += 1
    return out


def reference(given: Given, m: int) -> list[int]:
    """Mean cosine to the query's tokens; a softmax over the windows' sums."""
    seconds = float(str(given.params.get("seconds", 1.0)))
    relevance = [float(np.mean([cosine(x, t) for t in given.scores["text_features"]])) for x in given.x]
    windows: dict[int, list[int]] = {}
    for i, place in enumerate(given.places):
        windows.setdefault(int(place[0] // seconds), []).append(i)
    sums = [sum(relevance[i] for i in window) for window in windows.values()]
    weights = [math.exp(s - max(sums)) for s in sums]
    kept: list[int] = []
    for window, share in zip(windows.values(), shares(weights, [len(w) for w in windows.values()], m), strict=True):
        kept += [window[k] for k in top(np.array([relevance[i] for i in window]), share)]
    return sorted(kept)


# Cosines to the one token of the query: 1, 0.8 | 0, 0.6 | 0, -1. Windows of two sum to 1.8, 0.6 and -1; their softmax
# is 0.737, 0.222 and 0.045 (of 8.24).
_X = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8], [0.0, -1.0], [-1.0, 0.0]]
_TEXT: dict[Score, object] = {"text_features": [[0.0, 0.0], [2.0, 0.0]]}
ROW = Row(
    reference,
    (
        Case(_X, 1, [0], scores=_TEXT, params={"seconds": 2.0}),
        # Of 3: 2.2, 0.67 and 0.13: two, one, none.
        Case(_X, 3, [0, 1, 3], scores=_TEXT, params={"seconds": 2.0}),
        # Of 4 the first should get 2.9 but has 2; of the other two, its neighbours get 1.66 and 0.34.
        Case(_X, 4, [0, 1, 2, 3], scores=_TEXT, params={"seconds": 2.0}),
        # The published windows of a second hold one token each here: softmax over the tokens themselves.
        Case(_X, 2, [0, 1], scores=_TEXT),
    ),
    params=({"seconds": 4.0}, {}, {"seconds": 100.0}),
)
