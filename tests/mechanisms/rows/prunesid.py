"""PruneSID, group by group."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..kit import Array, Case, Given, Row, cosine


def components(tokens: Array, groups: int) -> NDArray[np.int64]:
    """Two rounds of power iteration on a space that starts with cosines along the channels, then its principal axes."""
    channel = (np.arange(tokens.shape[1]) + 0.5) / tokens.shape[1]
    start = np.cos(np.pi * np.outer(channel, np.arange(1, groups + 1)))
    products = tokens @ tokens.T
    space = np.linalg.svd(products @ products @ tokens @ start, full_matrices=False)[0]
    axes = np.linalg.svd(space.T @ tokens, full_matrices=False)[0]
    out: NDArray[np.int64] = np.abs(space @ axes).argmax(1)
    return out


def frame_choice(x: Array, attention: Array, m: int, params: dict[str, float]) -> list[int]:
    """Kept tokens of one frame."""
    n = len(x)
    squashed = 1 / (1 + np.exp(-x))
    squashed = squashed - squashed.mean(1, keepdims=True)
    groups = max(1, min(m // int(params["group_size"]), x.shape[1] - 1))
    group = components(squashed, groups)

    pairs = [cosine(x[i], x[j]) for i in range(n) for j in range(i)]
    threshold = max(params["suppression"] * m / n, 1.0) * (float(np.mean(pairs)) if pairs else 0.0)
    alone: list[list[int]] = []
    for g in range(groups):
        left = sorted(np.flatnonzero(group == g), key=lambda i: (-attention[i], i))
        kept: list[int] = []
        while left:
            kept.append(left.pop(0))
            left = [i for i in left if cosine(x[i], x[kept[-1]]) <= threshold]
        alone.append(kept)

    size = [int((group == g).sum()) for g in range(groups)]
    least = [min(1, s) for s in size]
    most = [min(5 * math.ceil(m / 64), s, len(kept)) for s, kept in zip(size, alone, strict=True)]
    while sum(most) < m:
        most = [min(u + 1, s) for u, s in zip(most, size, strict=True)]
    free = sum(map(len, alone))
    upto = [round((m - sum(least)) * sum(map(len, alone[: g + 1])) / free) for g in range(groups)]
    share = [
        min(low + upto[g] - (upto[g - 1] if g else 0), high)
        for g, (low, high) in enumerate(zip(least, most, strict=True))
    ]
    for g in sorted(range(groups), key=lambda g: (-len(alone[g]), g)):
        share[g] += min(most[g] - share[g], m - sum(share))
    out: list[int] = []
    for g in range(groups):
        rest = sorted(set(np.flatnonzero(group == g)) - set(alone[g]), key=lambda i: (-attention[i], i))
        out += [*alone[g], *rest][: share[g]]
    return out


def reference(given: Given, m: int) -> list[int]:
    """Frames by themselves; where they have one token each, all at once."""
    params = {
        name: float(given.params.get(name, value))  # type: ignore[arg-type]
        for name, value in {"group_size": 4, "suppression": 18.0}.items()
    }
    frames = [np.flatnonzero(given.places[:, 0] == t) for t in range(given.grid[0])]
    if max(map(len, frames)) == 1:
        frames = [np.arange(len(given.x))]
    kept: list[int] = []
    for number, frame in enumerate(frames):
        share = m // len(frames) + (number < m % len(frames))
        if share:
            chosen = frame_choice(given.x[frame], given.scores["cls_attention"][frame], share, params)
            kept += [int(frame[i]) for i in chosen]
    return sorted(kept)


# The sigmoid of a and of -a lie as far above and below a half, so tokens become (s, -s, 0, 0) and (0, 0, s, -s): 0 and
# 1 are one direction, 2 another. The first component loads on 0 and 1 alike, the second on 2 alone. With a component
# for every survivor, the group of 0 and 1 keeps 1, by attention, and 2 stays though its attention is the least.
_A, _B = [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]
# In one group, the mean cosine of 0, 1, 2 and 3 is (1 + 1) / 6: at once that mean, 0 suppresses 1, and 2 suppresses 3.
_PAIRS = [_A, _A, _B, _B]
_FALLING = {"cls_attention": [0.4, 0.3, 0.2, 0.1]}
ROW = Row(
    reference,
    (
        Case([_A, _A, _B], 2, [1, 2], scores={"cls_attention": [0.2, 0.3, 0.1]}, params={"group_size": 1}),
        Case(_PAIRS, 2, [0, 2], scores=_FALLING, params={"suppression": 0.0}),
        # 0 and 2 are not enough: the group may have one more, the first of those suppressed.
        Case(_PAIRS, 3, [0, 1, 2], scores=_FALLING, params={"suppression": 0.0}),
        # 18 x 2 / 4 times the mean is 3, which no cosine exceeds: attention alone decides.
        Case(_PAIRS, 2, [0, 1], scores=_FALLING),
    ),
    permutes=True,
    exact_flops=False,
    params=({}, {"group_size": 2, "suppression": 1.0}),
    width=64,  # more channels than tokens, so that components do not end
)
