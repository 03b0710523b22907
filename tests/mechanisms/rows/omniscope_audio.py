"""OmniScope's audio step: windows' shares found by halving, then matching window by window."""

from __future__ import annotations

import math

import numpy as np

from autotc.mechanisms import Score

from ..kit import Array, Case, Given, Row, cosine
from .aim import match
from .speechprune import shares


def bounded(weights: list[float], low: list[float], high: list[float], m: int) -> list[float]:
    """Shares in proportion between bounds: the factor is found by halving an interval."""
    top = max(weights)
    scaled = [max(w / top, 1e-9) if top > 0 else 1.0 for w in weights]

    def at(factor: float) -> list[float]:
        return [min(max(factor * w, lo), hi) for w, lo, hi in zip(scaled, low, high, strict=True)]

    begin, end = 0.0, 2e9 * max(high)
    for _ in range(200):
        middle = (begin + end) / 2
        begin, end = (middle, end) if sum(at(middle)) < m else (begin, middle)
    return at(end)


def boosted(score: list[float]) -> list[float]:
    """The fifth of the highest by 1.2, what is near them by more, the nearest most."""
    if len(score) < 2:
        return score
    high = [i for i, s in enumerate(score) if s >= np.percentile(score, 80)]
    out = []
    for i, s in enumerate(score):
        factors = [1.0] + [1.2] * (i in high) + [1 + 0.5 * 0.5 ** abs(i - h) for h in high if 0 < abs(i - h) <= 3]
        out.append(s * max(factors))
    return out


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Relevance token by token, windows' shares, matching."""
    setting = {"seconds": 1.0, "temperature": 0.05, "best": 5, "power": 2.0, "least": 0.4}
    setting |= {name: float(str(value)) for name, value in given.params.items()}
    x, words = given.x, given.scores["text_features"]
    norms = np.array([np.linalg.norm(w) for w in words])
    relevance = []
    for token in x:
        near = np.array([cosine(token, w) for w in words])
        weight = np.exp((near * norms / norms.max() - 1) / setting["temperature"])
        relevance.append(float((weight * near).sum() / weight.sum()))
    windows: list[list[int]] = []
    for i, place in enumerate(given.places):
        number = int(place[0] / setting["seconds"] + 1e-4)
        windows += [[]] * (number + 1 - len(windows))
        windows[number] = [*windows[number], i]
    if len(windows) > m:
        windows = [list(range(len(x)))]
    best = [sorted((relevance[i] for i in w), reverse=True)[: int(setting["best"])] for w in windows]
    score = boosted([max(float(np.mean(values)), 0.0) ** setting["power"] for values in best])
    size = [len(w) for w in windows]
    share = bounded(score, [math.ceil(setting["least"] * s) for s in size], [float(s) for s in size], m)
    counts = shares(share, size, m)
    if 0 in counts:
        counts = [1 + more for more in shares(share, [s - 1 for s in size], m - len(size))]
    groups = []
    for window, count in zip(windows, counts, strict=True):
        groups += [[window[i] for i in g] for g in match(x[window], [[i] for i in range(len(window))], count)]
    return [g[-1] for g in groups], np.stack([x[g].mean(0) for g in groups])


# Two windows of three seconds and one word, (1, 0): the first has cosines 1, 1 and 0, the second 0.6, 0.6 and 0.6.
# With one best token each they score 1 and 0.36. The first is the higher fifth: 1.2, and the second is next to it: 1.25
# x 0.36 = 0.45. Of 4 tokens that is 2.91 and 1.09; the least is ceil(0.4 x 3) = 2, so it is two each.
_X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.6, -0.8], [0.6, 0.8]]
_WORD: dict[Score, object] = {"text_features": [[1.0, 0.0]]}
_THREE = {"seconds": 3.0, "best": 1}
ROW = Row(
    reference,
    (
        # In each window 0 and 2 may leave for 1: 0 does (cosine 1 against 0); of the second, both have -0.28: 0.
        Case(_X, 4, [1, 2, 4, 5], [[1.5, 0.0], [0.0, 1.0], [0.6, 0.0], [0.6, 0.8]], scores=_WORD, params=_THREE),
        # Without a least, 2.91 and 1.09: three and one. All of the second become one: 0 flows into 1, then what is left
        # of it, (0.6, 0), into 2: the mean of the three is (0.6, 0.8 / 3).
        Case(
            _X,
            4,
            [0, 1, 2, 5],
            [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.6, 0.8 / 3]],
            scores=_WORD,
            params={"seconds": 3.0, "best": 1, "least": 0.0},
        ),
    ),
    conserves=True,
    exact_flops=False,
    params=({}, {"seconds": 5.0}, {"seconds": 8.0, "least": 0.1, "best": 2}, {"seconds": 3.0, "temperature": 1.0}),
)
