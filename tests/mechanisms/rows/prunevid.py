"""PruneVid's merge, set by set."""

from __future__ import annotations

import math
from itertools import combinations, groupby

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, noise


def peaks(x: Array, m: int, k: int, added: Array) -> dict[int, list[int]]:
    """DPC-KNN: the members of each of ``m`` centres; noise is ``added`` to the densities."""
    n = len(x)
    distance = [[float(np.linalg.norm(x[i] - x[j])) / math.sqrt(x.shape[1]) for j in range(n)] for i in range(n)]
    near = [sorted(row)[:k] for row in distance]  # the token itself, at 0, among them
    density = [math.exp(-sum(d * d for d in row) / len(row)) + float(a) for row, a in zip(near, added, strict=True)]
    separation = []
    for i in range(n):
        denser = [j for j in range(n) if (density[j], -j) > (density[i], -i)]
        separation.append(min((distance[i][j] for j in denser), default=max(map(max, distance))))
    centres = sorted(sorted(range(n), key=lambda i: (-density[i] * separation[i], i))[:m])
    groups: dict[int, list[int]] = {c: [] for c in centres}
    for i in range(n):
        groups[i if i in centres else min(centres, key=lambda c: (distance[i][c], c))].append(i)
    return groups


def runs(labels: list[int]) -> list[tuple[int, int, int]]:
    """Label, start and end of each run."""
    out, at = [], 0
    for label, members in groupby(labels):
        length = len(list(members))
        out.append((label, at, at + length))
        at += length
    return out


def refine(labels: list[int]) -> list[int]:
    """Only the longest runs of a label stay; gaps fill from the left with the label of the longer neighbour."""
    longest = {label: max(b - a for other, a, b in runs(labels) if other == label) for label in labels}
    out = [-1] * len(labels)
    for label, a, b in runs(labels):
        if b - a == longest[label] > 1:
            out[a:b] = [label] * (b - a)
    while -1 in out:
        pieces = runs(out)
        gap = next(i for i, piece in enumerate(pieces) if piece[0] == -1)
        left = pieces[gap - 1] if gap else None
        right = pieces[gap + 1] if gap + 1 < len(pieces) else None
        if left and (not right or left[2] - left[1] >= right[2] - right[1]):
            label = left[0]
        else:
            label = right[0] if right else 0
        _, a, b = pieces[gap]
        out[a:b] = [label] * (b - a)
    return out


def share(m: int, sizes: list[int]) -> list[int]:
    """One each, the rest in proportion to what each still has, by largest remainders."""
    count = [int(i < m) for i in range(len(sizes))]
    spare, left = [s - 1 for s in sizes], m - sum(count)
    if left:
        ideal = [left * s / sum(spare) for s in spare]
        count = [c + int(i + 1e-9) for c, i in zip(count, ideal, strict=True)]
        order = sorted(range(len(sizes)), key=lambda g: (-(ideal[g] - int(ideal[g] + 1e-9)), g))
        for g in order[: m - sum(count)]:
            count[g] += 1
    return count


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Segments, static places, clusters."""
    params, x = given.params, given.x
    t, area = given.grid[0], given.grid[1] * given.grid[2]
    k = int(str(params.get("neighbours", 7)))
    wanted = max(1, int(t * float(str(params.get("segment_share", 0.25))) + 1e-9))
    means = np.stack([x[f * area : (f + 1) * area].mean(0) for f in range(t)])
    label = {f: c for c, members in peaks(means, wanted, k, noise(given, 0, t)).items() for f in members}
    segments = runs(refine([label[f] for f in range(t)]))

    adaptive = bool(params.get("adaptive"))
    threshold = float(str(params.get("static_threshold", 0.8)))
    found = []
    for s, (_, a, b) in enumerate(segments):
        for place in range(area):
            members = [f * area + place for f in range(a, b)]
            pairs = [cosine(x[i], x[j]) for i, j in combinations(members, 2)]
            if pairs and np.mean(pairs) > threshold:
                found.append((-float(np.mean(pairs)), s, members))
    spare, static = len(x) - m, []
    for _, s, members in sorted(found):
        spare -= len(members) - 1
        if spare < 0 and not adaptive:
            break
        static.append((s, members))

    sets: dict[tuple[int, int], list[list[int]]] = {}
    for s, members in static:
        sets.setdefault((0, s), []).append(members)
    gone = {i for _, members in static for i in members}
    for i in range(len(x)):
        if i not in gone:
            sets.setdefault((1, i // area), []).append([i])
    names = sorted(sets)
    sizes = [len(sets[name]) for name in names]
    count = share(m, sizes) if sum(sizes) >= m else sizes
    if adaptive:
        half = float(str(params.get("cluster_share", 0.5)))
        published = [max(1, int(size * half + 1e-9)) if size > 14 else size for size in sizes]
        count = published if sum(published) <= m else count
    out = {}
    for number, (name, c) in enumerate(zip(names, count, strict=True)):
        tokens = sorted(sets[name])
        merged = np.stack([x[g].mean(0) for g in tokens])
        if c:
            for centre, members in peaks(merged, c, k, noise(given, number, len(tokens))).items():
                out[tokens[centre][0]] = merged[members].mean(0)
    return sorted(out), np.stack([out[i] for i in sorted(out)])


# Two frames of three places, one segment. Place 0 has cosine 1, place 2 has 3 / sqrt(9.09) = 0.995, place 1 has 0.
_X = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.3, 3.0]]
ROW = Row(
    reference,
    (
        # Room for one merge: place 0, the most static.
        Case(_X, 5, [0, 1, 2, 4, 5], [[1, 0], [0, 1], [0, 1], [1, 0], [0.3, 3]], grid=(2, 1, 3)),
        # Both static places merge over time; the sets are (1, 0) and (0.15, 2), then (0, 1), then (1, 0).
        Case(_X, 4, [0, 1, 2, 4], [[1, 0], [0, 1], [0.15, 2], [1, 0]], grid=(2, 1, 3)),
        # One cluster for each set: the static ones become their mean.
        Case(_X, 3, [0, 1, 4], [[0.575, 1], [0, 1], [1, 0]], grid=(2, 1, 3)),
        # By the threshold alone, the same as at 4: sets this small are not clustered.
        Case(_X, 6, [0, 1, 2, 4], [[1, 0], [0, 1], [0.15, 2], [1, 0]], grid=(2, 1, 3), params={"adaptive": True}),
    ),
    exact_flops=False,
    params=(
        {},
        {"static_threshold": 0.0, "segment_share": 0.5, "neighbours": 3},
        {"adaptive": True, "static_threshold": -0.2, "segment_share": 0.6},
        {"segment_share": 1.0, "neighbours": 2, "static_threshold": -1.0},
        {"noise_seed": 3, "static_threshold": 0.0},
    ),
)
