"""FastVID, segment by segment."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, noise
from .hired import shared_out


def _peaks(x: Array, members: list[int], count: int, added: Array) -> list[int]:
    """The tokens of highest density x distance to a denser one; each counts among its own 4 nearest."""
    far = {(i, j): float(np.linalg.norm(x[i] - x[j])) / x.shape[1] ** 0.5 for i in members for j in members}
    density = {}
    for i, extra in zip(members, added, strict=True):
        near = sorted(far[i, j] ** 2 for j in members)[:4]
        density[i] = float(np.exp(-np.mean(near)) + extra)
    score = {}
    for i in members:
        denser = [far[i, j] for j in members if density[j] > density[i]]
        score[i] = density[i] * min(denser, default=max(far.values()))
    return sorted(members, key=lambda i: -score[i])[:count]


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Segments, salient tokens, anchors; then every anchor frame's anchors gather the dropped of the segment."""
    x, (frames, height, width) = given.x, given.grid
    area = height * width
    limit, tau = int(str(given.params.get("segments", 8))), float(str(given.params.get("threshold", 0.9)))
    blocks = [list(range(t * area, (t + 1) * area)) for t in range(frames)]
    means = [x[block].mean(axis=0) for block in blocks]
    like = [cosine(means[t], means[t + 1]) for t in range(frames - 1)]
    lowest = sorted(range(frames - 1), key=lambda t: like[t])[: limit - 1]
    segments = [[0]]
    for t in range(1, frames):
        if t - 1 in lowest or like[t - 1] < tau:
            segments.append([t])
        else:
            segments[-1].append(t)

    context = int(0.4 * m + 1e-9)
    salient_count = shared_out(m - context, [1.0] * frames, [area] * frames)
    salient: list[int] = []
    for t, block in enumerate(blocks):
        salient += sorted(block, key=lambda i: -given.scores["cls_attention"][i])[: salient_count[t]]
    weight = [0.0] * frames
    for segment in segments:
        holders = segment[::-1][::4]
        for t in holders:
            weight[t] = len(segment) / len(holders)
    count = shared_out(context, weight, [area - s for s in salient_count])
    rest = [[i for i in block if i not in salient] for block in blocks]
    number = np.cumsum([bool(members) for members in rest]) - 1
    added = [noise(given, int(number[t]), len(rest[t])) for t in range(frames)]
    anchors = [_peaks(x, rest[t], count[t], added[t]) for t in range(frames)]

    out = {i: x[i] for i in salient}
    for segment in segments:
        held = {i for t in segment for i in anchors[t]} | set(salient)
        loose = [i for t in segment for i in blocks[t] if i not in held]
        for t in segment:
            gathered: dict[int, list[int]] = {a: [] for a in anchors[t]}
            for i in loose if anchors[t] else []:
                gathered[max(sorted(anchors[t]), key=lambda a, i=i: cosine(x[i], x[a]))].append(i)
            for a, others in gathered.items():
                own = max(1 / (len(others) + 1), 0.6)
                out[a] = own * x[a] + (1 - own) * x[others].mean(axis=0) if others else x[a]
    kept = sorted(out)
    return kept, np.array([out[i] for i in kept])


# Two like frames of three tokens make one segment of the one that may be. Of 3 survivors int(0.4 x 3) = 1 is an anchor,
# in the last frame; one token a frame is salient: 0 and 3. In frame 1 tokens 4 and 5 are left, equally dense: the
# earlier has no denser one before it and gets the largest distance, the later the same: 4 is the anchor. It gathers 1,
# 2 and 5, and becomes 0.6 x (0, 2) + 0.4 x ((0, 1) + (2, 2) + (4, 2)) / 3 = (0.8, 1.8667).
_X = [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [1.0, 0.0], [0.0, 2.0], [4.0, 2.0]]
_SEEN = {"cls_attention": [0.9, 0.1, 0.1, 0.9, 0.1, 0.1]}
_ONE = {"segments": 1, "threshold": 0.0}
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 3, 4], [_X[0], _X[3], [0.8, 5.6 / 3]], (2, 1, 3), _SEEN, params=_ONE),
        Case(_X, 2, [0, 3], None, (2, 1, 3), _SEEN, params=_ONE),
        Case(_X, 6, [0, 1, 2, 3, 4, 5], None, (2, 1, 3), _SEEN, params=_ONE),
    ),
    permutes=True,
    params=({}, {"segments": 1, "threshold": -1.0}, {"segments": 2, "threshold": -0.5}, {"noise_seed": 2}),
)
