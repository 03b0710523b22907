"""HoliTom's merge, by trying every segmentation."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, noise, top
from .prunevid import peaks


def static_places(
    given: Given, threshold: float, spare: int | None
) -> tuple[list[tuple[int, int]], dict[tuple[int, int], list[list[int]]]]:
    """The best of all segmentations; by (0, segment) the places that merge, by (1, frame) all other tokens."""
    x, n = given.x, len(given.x)
    t, area = given.grid[0], given.grid[1] * given.grid[2]
    step = {i: cosine(x[i - area], x[i]) for i in range(area, n)}

    def least(a: int, b: int, place: int) -> float:
        return min(step[f * area + place] for f in range(a + 1, b))

    def spared(a: int, b: int) -> int:
        return (b - a - 1) * sum(least(a, b, place) > threshold for place in range(area)) if b - a > 1 else 0

    cuts = [
        list(pairwise([0, *inner, t])) for size in range(t) for inner in combinations(range(1, t), size)
    ]  # every way to cut t frames
    segments = min(cuts, key=lambda c: (-sum(spared(a, b) for a, b in c), [b - a for a, b in reversed(c)]))

    found = [
        (-least(a, b, place), s, place)
        for s, (a, b) in enumerate(segments)
        for place in range(area)
        if b - a > 1 and least(a, b, place) > threshold
    ]
    sets: dict[tuple[int, int], list[list[int]]] = {}
    gone: set[int] = set()
    for _, s, place in sorted(found):
        a, b = segments[s]
        if spare is not None:
            spare -= b - a - 1
            if spare < 0:
                break
        members = [f * area + place for f in range(a, b)]
        sets.setdefault((0, s), []).append(members)
        gone |= set(members)
    for i in range(n):
        if i not in gone:
            sets.setdefault((1, i // area), []).append([i])
    return segments, sets


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Static places merge; then clusters and attention."""
    params, x = given.params, given.x
    centre_share = float(str(params.get("centre_share", 0.6)))
    spare = None if params.get("adaptive") else len(x) - m
    _, sets = static_places(given, float(str(params.get("static_threshold", 0.8))), spare)
    names = sorted(sets)
    sizes = [len(sets[name]) for name in names]
    m = min(m, sum(sizes))
    ideal = [m * size / sum(sizes) for size in sizes]
    count = [int(i + 1e-9) for i in ideal]
    order = sorted(range(len(sizes)), key=lambda g: (-(ideal[g] - count[g]), g))
    for g in order[: m - sum(count)]:
        count[g] += 1

    out: dict[int, Array] = {}
    for number, (name, c) in enumerate(zip(names, count, strict=True)):
        tokens = sorted(sets[name])
        if name[0] == 1:
            attention = np.array([given.scores["received_attention"][g[0]] for g in tokens])
            out |= {tokens[i][0]: x[tokens[i][0]] for i in top(attention, c)}
        elif c:
            merged = np.stack([x[g].mean(0) for g in tokens])
            k = min(c, int(str(params.get("neighbours", 7))))
            for centre, members in peaks(merged, c, k, noise(given, number, len(tokens))).items():
                others = [i for i in members if i != centre]
                mean = merged[others].mean(0) if others else merged[centre]
                out[tokens[centre][0]] = centre_share * merged[centre] + (1 - centre_share) * mean
    return sorted(out), np.stack([out[i] for i in sorted(out)])


# Place 0 is static and becomes (2, 0); places 1 and 2 change.
_X = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
_SEEN = {"received_attention": [0.0, 0.1, 0.2, 0.0, 0.4, 0.3]}
_CUT = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]
ROW = Row(
    reference,
    (
        # Shares of 3 in sets of 1, 2 and 2: 0.6, 1.2, 1.2, so one each; the frames keep their most attended.
        Case(_X, 3, [0, 2, 4], [[2, 0], [1, 0], [1, 0]], grid=(2, 1, 3), scores=_SEEN),
        Case(_X, 5, [0, 1, 2, 4, 5], [[2, 0], [0, 1], [1, 0], [1, 0], [0, 1]], grid=(2, 1, 3), scores=_SEEN),
        # One place over four frames: cutting between the second and the third spares two tokens, no cut none.
        Case(_CUT, 2, [0, 2], [[1, 0], [0, 2]], grid=(4, 1, 1), scores={"received_attention": [0.0] * 4}),
        # Room for one merge; both pairs are as static, the earlier goes first.
        Case(
            _CUT,
            3,
            [0, 2, 3],
            [[1, 0], [0, 1], [0, 3]],
            grid=(4, 1, 1),
            scores={"received_attention": [0.0] * 4},
        ),
        # Two static places in one cluster: 0.6 x the centre (of equals, the first) + 0.4 x the other.
        Case(
            [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]],
            1,
            [0],
            [[0.6, 0.4]],
            grid=(2, 1, 2),
            scores={"received_attention": [0.0] * 4},
        ),
        # The published noise decides: of seed 0 it is 0.35 and 0.63 millionths, so the second is the centre.
        Case(
            [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]],
            1,
            [1],
            [[0.4, 0.6]],
            grid=(2, 1, 2),
            scores={"received_attention": [0.0] * 4},
            params={"noise_seed": 0},
        ),
    ),
    exact_flops=False,
    params=(
        {},
        {"static_threshold": 0.0},
        {"static_threshold": -0.3, "neighbours": 3, "centre_share": 0.5},
        {"adaptive": True, "static_threshold": -0.2},
        {"static_threshold": -0.3, "noise_seed": 1},
    ),
)
