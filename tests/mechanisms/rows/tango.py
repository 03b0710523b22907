"""Tango, set by set."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row
from .hired import shared_out
from .holitom import static_places


def turned(given: Given, i: int) -> Array:
    """A token's features at norm 1, each pair of channels turned by the time, the row or the column."""
    x = given.x[i] / max(float(np.linalg.norm(given.x[i])), 1e-12)
    third = len(x) // 6 * 2
    out = x.copy()
    start = 0
    for width, place, base in zip((len(x) - 2 * third, third, third), given.places[i], (1e4, 1e3, 1e3), strict=True):
        half = width // 2
        for c in range(half):
            angle = float(place) * base ** (-c / half)
            one, two = x[start + c], x[start + half + c]
            out[start + c] = one * math.cos(angle) - two * math.sin(angle)
            out[start + half + c] = two * math.cos(angle) + one * math.sin(angle)
        start += width
    return out


def clusters(points: Array, count: int, k: int) -> dict[int, list[int]]:
    """DPC-KNN, where a token is none of its own nearest: the members of each centre."""
    n = len(points)
    far = [[float(np.linalg.norm(points[i] - points[j])) for j in range(n)] for i in range(n)]
    near = [sorted(far[i][j] ** 2 for j in range(n) if j != i)[:k] for i in range(n)]
    density = [math.exp(-sum(row) / max(len(row), 1)) for row in near]
    score = []
    for i in range(n):
        denser = [far[i][j] for j in range(n) if (density[j], -j) > (density[i], -i)]
        score.append(density[i] * min(denser, default=max(map(max, far))))
    centres = sorted(sorted(range(n), key=lambda i: (-score[i], i))[:count])
    out: dict[int, list[int]] = {c: [] for c in centres}
    for i in range(n):
        out[i if i in centres else min(centres, key=lambda c: (far[i][c], c))].append(i)
    return out


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Sets of static tokens and of frames; salient ones of each, then anchors of static tokens and of segments."""
    x, params, k = given.x, given.params, int(str(given.params.get("neighbours", 7)))
    context_share, weight = (float(str(params.get(*p))) for p in (("context_share", 0.4), ("anchor_weight", 0.6)))
    segments, sets = static_places(given, float(str(params.get("static_threshold", 0.65))), len(x) - m)
    area = given.grid[1] * given.grid[2]
    within = [
        [name for name in sorted(sets) if (name[1] == s if name[0] == 0 else a <= name[1] < b)]
        for s, (a, b) in enumerate(segments)
    ]
    room = [sum(len(sets[name]) for name in names) for names in within]
    share = shared_out(m, [float((b - a) * area) for a, b in segments], room)

    out: dict[int, Array] = {}
    for names, quota in zip(within, share, strict=True):
        sizes = [len(sets[name]) for name in names]
        pools: dict[int, list[list[int]]] = {0: [], 1: []}
        context = {0: 0, 1: 0}
        for name, count in zip(names, shared_out(quota, [float(n) for n in sizes], sizes), strict=True):
            members = sorted(sets[name])
            seen = [float(np.mean(given.scores["received_attention"][g])) for g in members]
            wanted = int(count * (1 - context_share) + 1e-9)
            most = int(wanted * float(str(params.get("candidates", 1.5))) + 1e-9)
            ahead = sorted(sorted(range(len(members)), key=lambda i, seen=seen: (-seen[i], i))[:most])
            best = []
            if wanted:
                found = clusters(np.array([turned(given, members[i][0]) for i in ahead]), wanted, k)
                best = [max((ahead[i] for i in group), key=lambda i, seen=seen: seen[i]) for group in found.values()]
            out |= {members[i][0]: x[members[i]].mean(axis=0) for i in best}
            pools[name[0]] += [g for i, g in enumerate(members) if i not in best]
            context[name[0]] += count - wanted
        for kind, pool in pools.items():
            if context[kind] and pool:
                points = np.array([turned(given, g[0]) for g in pool])
                means = np.array([x[g].mean(axis=0) for g in pool])
                for centre, group in clusters(points, context[kind], k).items():
                    w = max(1 / len(group), weight)
                    out[pool[centre][0]] = w * means[centre] + (1 - w) * means[group].mean(axis=0)
    return sorted(out), np.array([out[i] for i in sorted(out)])


# One frame, nothing turned. Of 2 survivors int(2 x 0.6) = 1 is salient, of one candidate: 0. Of the others 1 and 2
# point the same way: squared distances 0 and 2, density exp(-1), while 3 has exp(-2). The first of the two has none
# denser: it is the anchor of all three, 0.6 x (0, 1) + 0.4 x ((0, 1) + (0, 2) + (3, 0)) / 3.
_X = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]
# Of 4 survivors int(2.4) = 2 are salient, of 3 candidates: 0 and 1 are a cluster, 2 is one. Then 1, 3, 4 and 5 have
# mean squared distances 2.4, 1.33, 0.8 and 0.8: 4 has none denser (0.45 x sqrt(3.2)), 3 is sqrt(0.4) from 4 (0.26 x
# 0.63), 1 sqrt(2) (0.09 x 1.41), 5 nothing. So 4 and 3 are anchors; 1 and 5 flow into 4:
# 0.6 x (0, -1) + 0.4 x (1, -2) / 3.
_Y = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-0.6, -0.8], [0.0, -1.0], [0.0, -1.0]]
# Two frames: place 0 is static and becomes (2, 0), place 1 is not. Of 2 survivors in sets of 1, 1 and 1 the static set
# and frame 0 get one each, neither of them salient (int(0.6) = 0). Frames share one anchor: 1, which gathers 3.
_Z = [[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]
_SEEN = {"received_attention": [0.9, 0.1, 0.2, 0.3]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 1], [[1, 0], [0.4, 1.0]], (1, 1, 4), _SEEN),
        Case(
            _Y,
            4,
            [0, 2, 3, 4],
            [_Y[0], _Y[2], _Y[3], [0.4 / 3, -2.6 / 3]],
            (1, 1, 6),
            {"received_attention": [0.9, 0.8, 0.7, 0.1, 0.1, 0.1]},
        ),
        Case(_Z, 3, [0, 1, 3], [[2, 0], [0, 1], [1, 0]], (2, 1, 2), _SEEN),
        Case(_Z, 2, [0, 1], [[2, 0], [0.2, 0.8]], (2, 1, 2), _SEEN),
    ),
    exact_flops=False,
    params=(
        {},
        {"static_threshold": 0.0, "candidates": 2.5},
        {"static_threshold": -0.3, "neighbours": 3, "context_share": 0.7, "anchor_weight": 0.4},
    ),
)
