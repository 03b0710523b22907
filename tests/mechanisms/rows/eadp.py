"""EADP, by loops over words, neighbours and candidates, each frame by itself."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def relevance(x: Array, words: Array, params: dict[str, float]) -> Array:
    """Of the tokens of a frame, scaled to [0, 1]."""
    sign = -1.0 if params["negated"] else 1.0
    near = sign * np.array([[cosine(token, word) for word in words] for token in x]).reshape(len(x), len(words))
    entropy = []
    for word in near.T:
        share = np.exp(100 * (word - word.max()))
        share = share / share.sum()
        entropy.append(-float((share * np.log(share + 1e-12)).sum()))
    left = sorted(range(len(words)), key=lambda j: (entropy[j], j))[: max(1, int(len(words) * params["word_share"]))]
    weight = np.exp([(min(entropy) - entropy[j]) / 0.01 for j in left]) if left else np.zeros(0)
    mean = words.sum(0)
    mixed = np.array(
        [
            params["alpha"] * sign * cosine(x[i], mean)
            + (1 - params["alpha"]) * (float(near[i, left] @ weight / weight.sum()) if left else 0.0)
            for i in range(len(x))
        ]
    )
    out: Array = (mixed - mixed.min() + 1e-6) / (mixed.max() - mixed.min() + 1e-6)
    return out


def smoothed(score: Array, places: list[tuple[int, int]]) -> Array:
    """Each place looks at its nine neighbours; a step over the border comes back by as much."""
    known, size = dict(zip(places, score, strict=True)), [max(p[axis] for p in places) for axis in (0, 1)]
    out = []
    for y, x in places:
        total = share = 0.0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = [abs(y + dy), abs(x + dx)]
                at = [2 * end - v if v > end else v for v, end in zip(at, size, strict=True)]
                if tuple(at) in known:
                    weight = math.exp(-(dy * dy + dx * dx) / 2)
                    total, share = total + weight * known[at[0], at[1]], share + weight
        out.append(total / share)
    return np.array(out)


def reference(given: Given, m: int) -> list[int]:
    """Every candidate's gain is summed anew in every step."""
    params = {
        name: float(given.params.get(name, value))  # type: ignore[arg-type]
        for name, value in {"alpha": 0.5, "beta": 2.0, "word_share": 0.2, "negated": 1.0}.items()
    }
    words = given.scores["text_features"]
    words = words[np.abs(words).sum(1) > 0]
    frames = [list(np.flatnonzero(given.places[:, 0] == t)) for t in range(given.grid[0])]
    if max(map(len, frames)) == 1:
        frames = [list(range(len(given.x)))]
    # Frames are as large as one another here: each keeps as much, the first ones one more.
    share = [m // len(frames) + (f < m % len(frames)) for f in range(len(frames))]
    kept: list[int] = []
    for frame, wanted in zip(frames, share, strict=True):
        x, places = given.x[frame], [(int(given.places[i, 1]), int(given.places[i, 2])) for i in frame]
        if len(set(places)) < len(places):  # a line in time has no neighbours in space
            weight = relevance(x, words, params)
        else:
            weight = smoothed(relevance(x, words, params), places)
        weight = weight ** params["beta"] * given.mass[frame]
        near = [[1.0 if i == j else cosine(a, b) for j, b in enumerate(x)] for i, a in enumerate(x)]
        value = (1 + np.array(near)) / 2
        covered, chosen = np.zeros(len(x)), list[int]()
        while len(chosen) < wanted:
            gain = {
                j: round(float((np.maximum(value[:, j] - covered, 0) * weight).sum()), 9)
                for j in range(len(x))
                if j not in chosen
            }
            best = min(gain, key=lambda j: (-gain[j], j))
            chosen.append(best)
            covered = np.maximum(covered, value[:, best])
        kept += [frame[j] for j in chosen]
    return sorted(kept)


# In a row of three: cosines 1, 0 and -1 to the word and to the mean of words. Turned, scaled relevance is 0, 0.5 and 1.
# The Gaussian gives a neighbour e^-0.5 = 0.607 of 2.213; the border reflects, so token 0 sees token 1 twice, 0.607 x
# 2 x 0.5 / 2.213 = 0.274; token 1 0.5; token 2 (1 + 0.607) / 2.213 = 0.726. Squared: 0.075, 0.25 and 0.527. A token
# covers itself wholly, its neighbour by half and the opposite one not at all: 0 gains 0.075 + 0.125, 1 0.038 + 0.25 +
# 0.264 = 0.552, 2 0.125 + 0.527 = 0.652. Behind 2, token 1 adds 0.038 + 0.125, token 0 adds 0.075.
_X = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
_WORDS = {"text_features": [[0.0, 0.0], [3.0, 0.0]]}
# Of five words a fifth is left, the one of least entropy: [1, 0, 0] has all of its softmax at token 0; the others have
# cosine 0 to all tokens and entropy log 3. On its own, it makes 0 the most relevant.
_DEEP = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
_DIFFUSE = {"text_features": [[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]}
ROW = Row(
    reference,
    (
        Case(_X, 1, [2], grid=(1, 1, 3), scores=_WORDS),
        Case(_X, 2, [1, 2], grid=(1, 1, 3), scores=_WORDS),
        # Not squared: 0 gains 0.274 + 0.25, 1 0.137 + 0.5 + 0.363 = 1, 2 0.25 + 0.726 = 0.976.
        Case(_X, 1, [1], grid=(1, 1, 3), scores=_WORDS, params={"beta": 1.0}),
        Case(_DEEP, 1, [0], grid=(1, 1, 3), scores=_DIFFUSE, params={"alpha": 0.0, "negated": False}),
        # Without a word all are alike, and token 1 covers the others by half each.
        Case(_X, 1, [1], grid=(1, 1, 3), scores={"text_features": [[0.0, 0.0]]}),
        # Each of two frames keeps its own: one token a frame would be one frame.
        Case(_X + _X, 2, [2, 5], grid=(2, 1, 3), scores=_WORDS),
        # Token 0 stands for ten: 0.75 + 0.125 before token 1, 0.375 + 0.25 + 0.264 = 0.889 that covers it by half.
        Case(_X, 1, [1], grid=(1, 1, 3), scores=_WORDS, mass=[10.0, 1.0, 1.0]),
    ),
    params=({}, {"alpha": 0.2, "beta": 1.0, "word_share": 0.7, "negated": False}),
)
