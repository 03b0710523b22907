"""OTT-Vid, frame by frame and pair by pair."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine
from .hired import shared_out


def covering(alike: Array, weight: Array, count: int) -> list[int]:
    """Plain greedy facility location."""
    chosen: list[int] = []
    covered = np.zeros(len(alike))
    while len(chosen) < count:
        gain = {
            j: round(float((weight * np.maximum(alike[:, j] - covered, 0.0)).sum()), 9)
            for j in range(len(alike))
            if j not in chosen
        }
        chosen.append(min(gain, key=lambda j: (-gain[j], j)))
        covered = np.maximum(covered, alike[:, chosen[-1]])
    return sorted(chosen)


def masses(alike: Array, weight: Array, chosen: list[int], temperature: float) -> Array:
    """Softmax of minus what each of the chosen covers better than all the others."""
    alone = np.zeros(len(chosen))
    for i, row in enumerate(alike[:, chosen]):
        order = np.argsort(-row, kind="stable")
        second = row[order[1]] if len(chosen) > 1 else 0.0
        alone[order[0]] += weight[i] * max(row[order[0]] - second, 0.0)
    out = np.exp(-alone / (alone.max() + 1e-8) / temperature)
    return np.asarray(out / out.sum())


def moved(cost: Array, source: Array, sink: Array, entropy: float, rounds: int) -> Array:
    """Sinkhorn's iteration, without logarithms."""
    kernel = np.exp(-cost / entropy)
    u = np.ones(len(source))
    for _ in range(rounds):
        v = sink / (kernel.T @ u)
        u = source / (kernel @ v)
    return u[:, None] * kernel * v[None]


def joins(
    kept: list[list[int]], plans: list[Array], costs: list[Array], merges: list[int], most: float
) -> dict[int, int | None]:
    """What each token that goes flows into; None where that would cost too much."""
    parent: dict[int, int | None] = {}
    for later, before, plan, cost, number in zip(kept[1:], kept, plans, costs, merges, strict=False):
        best = [int(column.argmax()) for column in plan.T]
        for q in sorted(range(len(later)), key=lambda q, plan=plan: -plan[:, q].max())[:number]:
            parent[later[q]] = None if cost[best[q], q] > most else before[best[q]]
    return parent


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Coverage, then transport and merges pair by pair; what costs too much goes, with all that flowed into it."""
    x, params, (frames, height, width) = given.x, given.params, given.grid
    area, n = height * width, len(x)
    setting = {"time_share": 0.3, "mass_temperature": 0.3, "budget_temperature": 0.3, "largest_cost": 0.3}
    setting |= {"entropy": 0.01, "rounds": 200} | {k: float(str(v)) for k, v in params.items()}
    each = max(1, int(area * (m / n) ** (1 - setting["time_share"]) + 1e-9))
    spatial = min(max(frames * each, m), frames * m)
    count = shared_out(spatial, [1.0] * frames, [area] * frames)
    kept, mass = [], []
    for t in range(frames):
        block = range(t * area, (t + 1) * area)
        alike = np.array([[cosine(x[i], x[j]) for j in block] for i in block])
        weight = given.scores["received_attention"][block.start : block.stop]
        chosen = covering(np.maximum(alike, 0.0), weight / weight.sum(), count[t])
        kept.append([t * area + i for i in chosen])
        mass.append(masses(alike, weight / weight.sum(), chosen, setting["mass_temperature"]))

    plans, costs, apart = [], [], []
    for t in range(1, frames):
        change = np.mean([1 - cosine(x[i], x[i - area]) for i in range(t * area, (t + 1) * area)])
        a = 0.5 + 0.5 * min(max(change, 0.0), 1.0)
        cost = np.zeros((len(kept[t - 1]), len(kept[t])))
        for p, i in enumerate(kept[t - 1]):
            for q, j in enumerate(kept[t]):
                far = [(given.places[i, k] - given.places[j, k]) / max(1, given.grid[k] - 1) for k in (1, 2)]
                near = max(cosine(x[i], x[j]), 0.0)
                cost[p, q] = a * (1 - near) + (1 - a) * np.hypot(*far) / np.sqrt(2)
        costs.append(cost)
        plans.append(moved(cost, mass[t - 1], mass[t], setting["entropy"], int(setting["rounds"])))
        apart.append(float((plans[-1] * cost).sum()))

    total = spatial - m
    weight = list(np.exp(-np.array(apart) / setting["budget_temperature"]))
    room = [k - 1 for k in count[1:]]
    merges = shared_out(min(total, sum(room)), weight, room) if frames > 1 else []
    if total > sum(merges):
        more = shared_out(total - sum(merges), weight, [k - c for k, c in zip(count[1:], merges, strict=True)])
        merges = [a + b for a, b in zip(merges, more, strict=True)]
    parent = joins(kept, plans, costs, merges, setting["largest_cost"])
    groups: dict[int, list[int]] = {}
    for i in (i for block in kept for i in block):
        root: int | None = i
        while root is not None and root in parent:
            root = parent[root]
        if root is not None:
            groups.setdefault(root, []).append(i)
    return sorted(groups), np.array([x[groups[i]].mean(axis=0) for i in sorted(groups)])


# Two frames of two places; of 2 survivors, int(2 x 0.5^0.7) = 1 stays in each frame, so nothing merges. Tokens 0 and 1
# cover half of the attention each and the other by 0.6: 0 is first; of 2 and 3 the more attended, 3.
_X = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [2.0, 0.0]]
_SEEN = {"received_attention": [0.5, 0.5, 0.1, 0.9]}
_TIME = {"time_share": 1.0}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 3], None, (2, 1, 2), _SEEN),
        # All merging is over time: both frames keep both places, and one token must go. Changes are 1 and 0.4, so that
        # a = 0.5 + 0.5 x 0.7 = 0.85. Costs of 2 and 3 from 0 and 1: 0.85 and 0.15/sqrt(2) = 0.106 (cosines 0 and 1, the
        # second one place away); 0.85 x 0.2 + 0.106 = 0.276 and 0.85 x 0.4 = 0.34. In frame 0 both cover 0.5 x 0.4
        # alone: masses 1/2. In frame 1 token 2 covers 0.1, 3 covers 0.9, so that 3 is light: 2 takes nearly all, from
        # both. Its largest entry is from 1, which gives all it has (0.5): it merges into 1, at 0.276.
        Case(_X, 3, [0, 1, 3], [_X[0], [0.3, 0.9], _X[3]], (2, 1, 2), _SEEN, params=_TIME),
        # At a lower bound of cost it is dropped.
        Case(_X, 3, [0, 1, 3], None, (2, 1, 2), _SEEN, params=_TIME | {"largest_cost": 0.2}),
        Case(_X, 4, [0, 1, 2, 3], None, (2, 1, 2), _SEEN),
    ),
    params=(
        {},
        {"time_share": 1.0, "largest_cost": 10.0, "entropy": 0.05},
        {
            "time_share": 0.6,
            "mass_temperature": 1.0,
            "budget_temperature": 1.0,
            "largest_cost": 0.6,
            "entropy": 0.1,
            "rounds": 10,
        },
    ),
)
