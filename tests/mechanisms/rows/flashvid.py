"""FlashVID, frame by frame and link by link."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, noise
from .hired import shared_out
from .prunevid import peaks


def diverse(x: Array, members: list[int], weight: Array, count: int) -> list[int]:
    """One by one, the token with the largest product of weight and distance to the nearest chosen one."""
    chosen: list[int] = []
    while len(chosen) < count:
        score = {}
        for i in members:
            if i not in chosen:
                others = chosen or [j for j in members if j != i]
                score[i] = weight[i] * min((1 - cosine(x[i], x[j]) for j in others), default=4.0)
        chosen.append(min(score, key=lambda i: (-score[i], i)))
    return chosen


def segmented(means: list[Array], limit: int, threshold: float) -> list[list[int]]:
    """Frames cut at the least similar transitions, and at all below the threshold."""
    like = [cosine(one, two) for one, two in pairwise(means)]
    lowest = sorted(range(len(like)), key=lambda t: like[t])[: limit - 1]
    segments = [[0]]
    for t in range(1, len(means)):
        if t - 1 in lowest or like[t - 1] < threshold:
            segments.append([t])
        else:
            segments[-1].append(t)
    return segments


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Segments; diverse tokens; links to the frame before, best first; clusters of the trees of each frame."""
    x, params, (frames, height, width) = given.x, given.params, given.grid
    area = height * width
    blocks = [list(range(t * area, (t + 1) * area)) for t in range(frames)]
    means = [x[block].mean(axis=0) for block in blocks]
    limit, threshold = int(str(params.get("segments", 8))), float(str(params.get("segment_threshold", 0.9)))
    segments = segmented(means, limit, threshold)

    weight = given.scores["received_attention"].copy()
    if params.get("events", True):
        for segment in segments:
            event = np.mean([means[t] for t in segment], axis=0)
            for t in segment:
                weight[blocks[t]] *= np.maximum(x[blocks[t]] @ event, 0.0)
    wanted = math.ceil(m * float(str(params.get("alpha", 0.7))) - 1e-9)
    count = shared_out(wanted, [1.0] * frames, [area] * frames)
    chosen = [i for t in range(frames) for i in diverse(x, blocks[t], weight, count[t])]
    total = [len(segment) * area for segment in segments]
    taken = [sum(count[t] for t in segment) for segment in segments]
    share = shared_out(m - wanted, [float(n) for n in total], [n - k for n, k in zip(total, taken, strict=True)])

    out, number = {i: x[i] for i in chosen}, -1
    for segment, left, quota in zip(segments, (n - k for n, k in zip(total, taken, strict=True)), share, strict=True):
        link = {}
        for t in segment[1:]:
            before = [j for j in blocks[t - 1] if j not in chosen]
            for i in blocks[t]:
                if i not in chosen and before:
                    j = max(before, key=lambda j, i=i: cosine(x[i], x[j]))
                    if cosine(x[i], x[j]) > float(str(params.get("merge_threshold", 0.8))):
                        link[i] = j
        link = dict(sorted(link.items(), key=lambda pair: -cosine(x[pair[0]], x[pair[1]]))[: left - quota])
        trees: dict[int, list[int]] = {}
        for i in (i for t in segment for i in blocks[t] if i not in chosen):
            root = i
            while root in link:
                root = link[root]
            trees.setdefault(root, []).append(i)
        held = [[root for root in trees if root // area == t] for t in segment]
        clusters = shared_out(quota, [float(len(roots)) for roots in held], [len(roots) for roots in held])
        for roots, k in zip(held, clusters, strict=True):
            number += bool(roots)
            if k:
                mean = np.array([x[trees[root]].mean(axis=0) for root in roots])
                for centre, members in peaks(mean, k, min(k, 7), noise(given, number, len(roots))).items():
                    out[roots[centre]] = x[[i for p in members for i in trees[roots[p]]]].mean(axis=0)
    return sorted(out), np.array([out[i] for i in sorted(out)])


# Two frames of three tokens, one segment. Without events and by equal attention, of 4 survivors ceil(0.5 x 4) = 2 are
# diverse, one a frame: the token whose nearest neighbour is farthest, 1 (cosines to 0 and 2: 0) and 4 (the same).
# Token 3 joins 0 (cosine 1) and 5 joins 0 or 2 (cosine 0.8 and 1): 2. Of the 4 tokens left 2 may stay, so both merge:
# 0 becomes ((1, 0) + (3, 0)) / 2 and 2 the mean of (0.8, 0, 0.6) and (1.6, 0, 1.2).
_X = [[1.0, 0, 0], [0, 1.0, 0], [0.8, 0, 0.6], [3.0, 0, 0], [0, 2.0, 0], [1.6, 0, 1.2]]
_SEEN = {"received_attention": [1.0] * 6}
_ONE = {"segments": 1, "segment_threshold": -1.0, "alpha": 0.5, "events": False}
ROW = Row(
    reference,
    (
        Case(_X, 4, [0, 1, 2, 4], [[2, 0, 0], _X[1], [1.2, 0, 0.9], _X[4]], (2, 1, 3), _SEEN, params=_ONE),
        # One of two is diverse, in frame 0: 1. Tokens 3 and 5 join 0 and 2; 4 finds nothing like it. The five others
        # make three trees, two in frame 0 and one in frame 1, so frame 0 gets the one cluster (2/3 against 1/3). Its
        # trees (2, 0, 0) and (1.2, 0, 0.9) are as dense as each other: 0 is the centre. Token 4 is dropped.
        Case(_X, 2, [0, 1], [[1.6, 0, 0.45], _X[1]], (2, 1, 3), _SEEN, params=_ONE),
        # Distance to the nearest neighbour x attention: 0.2 x 1, 1 x 1 and 0.2 x 9 in frame 0.
        Case(_X, 1, [2], [_X[2]], (2, 1, 3), {"received_attention": [1.0, 1.0, 9.0, 0, 0, 0]}, params=_ONE),
        Case(_X, 6, [0, 1, 2, 3, 4, 5], None, (2, 1, 3), _SEEN, params=_ONE),
    ),
    exact_flops=False,
    params=(
        {},
        {"segments": 1, "segment_threshold": -1.0, "merge_threshold": 0.2, "events": False},
        {"segments": 2, "segment_threshold": -0.5, "merge_threshold": -0.2, "alpha": 0.3},
        {"segments": 1, "segment_threshold": -1.0, "alpha": 0.3, "noise_seed": 7},
    ),
)
