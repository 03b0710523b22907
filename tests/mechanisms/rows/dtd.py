"""DTD, frame by frame."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """The first frame, then round by round the next most changed token of every later frame."""
    frames, height, width = given.grid
    area = height * width
    x = given.x
    changed = {i: 1 - cosine(x[i], x[i - area]) for i in range(area, frames * area)}
    first = list(range(min(area, m)))
    if given.params.get("adaptive"):
        kept = sorted((i for i in changed if changed[i] >= 1 - 0.5), key=lambda i: -changed[i])
        return sorted([*first, *kept[: m - len(first)]])
    queues = [sorted(range(t * area, (t + 1) * area), key=lambda i: -changed[i]) for t in range(1, frames)]
    rounds = [queue[r] for r in range(area) for queue in queues]
    return sorted([*first, *rounds[: m - len(first)]])


# Two places, three frames. In frame 1 place 0 turns by a right angle, place 1 stays; in frame 2 place 0 stays and place
# 1 turns by 60 degrees.
_X = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.8660254, 0.5]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 1], grid=(3, 1, 2)),
        Case(_X, 3, [0, 1, 2], grid=(3, 1, 2)),
        Case(_X, 4, [0, 1, 2, 5], grid=(3, 1, 2)),
        Case(_X, 6, [0, 1, 2, 5], grid=(3, 1, 2), params={"adaptive": True, "threshold": 0.6}),
        Case(_X, 6, [0, 1, 2], grid=(3, 1, 2), params={"adaptive": True, "threshold": 0.4}),
        Case(_X, 3, [0, 1, 2], grid=(3, 1, 2), params={"adaptive": True, "threshold": 0.6}),
    ),
    params=({}, {"adaptive": True}),
)
