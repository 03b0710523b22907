"""HiRED, crop by crop."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def shared_out(budget: int, weight: list[float], room: list[int]) -> list[int]:
    """Shares by weight; groups they would overfill are full and leave; of the others, largest remainders round up."""
    share = {}
    while True:
        ready = [g for g in range(len(room)) if g not in share]
        left = budget - sum(share.values())
        total = sum(weight[g] for g in ready)
        ideal = {g: left * (weight[g] / total if total > 0 else 1 / len(ready)) for g in ready}
        full = {g: float(room[g]) for g in ready if ideal[g] > room[g] - 1e-9}
        share |= full
        if not full:
            break
    share |= ideal
    given = [int(share[g] + 1e-9) for g in range(len(room))]
    # Remainders that rounding errors alone tell apart are equal.
    order = sorted(share, key=lambda g: (-round(share[g] - given[g], 6), g))
    for g in order[: budget - sum(given)]:
        given[g] += 1
    return given


def reference(given: Given, m: int) -> list[int]:
    """Top tokens of the whole; counts of attended tokens by crop; top of what is left in each crop."""
    attention, n = given.scores["cls_attention"], len(given.x)
    share = float(str(given.params.get("whole_share", 0.5)))
    crops = int(str(given.params.get("crops", 2)))
    frames, height, width = given.grid
    names = [(t, y, x) for t in range(frames) for y in range(crops) for x in range(crops)]
    crop = [(int(t), int(y) * crops // height, int(x) * crops // width) for t, y, x in given.places]
    kept = top(attention, int(m * share + 1e-9))
    attended = top(attention, int(n * (1 - share) + 1e-9))
    left = {name: [i for i in range(n) if crop[i] == name and i not in kept] for name in names}
    weight = [float(sum(crop[i] == name for i in attended)) for name in names]
    counts = shared_out(m - len(kept), weight, [len(left[name]) for name in names])
    for name, count in zip(names, counts, strict=True):
        kept = kept + sorted(left[name], key=lambda i: (-attention[i], i))[:count]
    return sorted(kept)


# Crops of the 2 x 4 grid: {0, 1}, {2, 3}, {4, 5}, {6, 7}. With nothing for the whole, all 8 tokens count, 2 a crop, and
# each crop gives its best. With half for the whole: 0, 1, 2; the 4 most attended are 0, 1, 2, 5, so that the second and
# third crop share 3 tokens, 1.5 each; the second has 1 left, and the third gives 2.
_SCORES = {"cls_attention": [0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.05, 0.04]}
ROW = Row(
    reference,
    (
        Case([[1.0]] * 8, 4, [0, 2, 5, 6], grid=(1, 2, 4), scores=_SCORES, params={"whole_share": 0.0}),
        Case([[1.0]] * 8, 6, [0, 1, 2, 3, 4, 5], grid=(1, 2, 4), scores=_SCORES),
    ),
    permutes=True,
    params=({}, {"whole_share": 0.0, "crops": 3}, {"whole_share": 0.8}),
)
