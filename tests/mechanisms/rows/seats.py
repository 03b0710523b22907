"""SEATS's first stage, window by window."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine
from .speechprune import shares


def reference(given: Given, m: int) -> list[int]:
    """Every candidate's product is looked at anew in every step."""
    attention = given.scores["received_attention"]
    length = int(str(given.params.get("window", 2)))
    members: dict[int, list[int]] = {}
    for i, (t, _, _) in enumerate(given.places):
        members.setdefault(int(t) // length, []).append(i)
    last = max(members)
    sizes = [len(members.get(w, [])) for w in range(last + 1)]
    kept = list[int]()
    for w, count in enumerate(shares([float(s) for s in sizes], sizes, m)):
        window, chosen = members.get(w, []), list[int]()
        while len(chosen) < count:
            value = {}
            for i in window:
                if i not in chosen:
                    others = chosen or [j for j in window if j != i]
                    apart = min((1 - cosine(given.x[i], given.x[j]) for j in others), default=4.0)
                    value[i] = apart * attention[i]
            chosen.append(min(value, key=lambda i: (-value[i], i)))
        kept += chosen
    return sorted(kept)


# Two windows of two frames of two tokens. Distances to the nearest, in the first: 0 and 1 are alike (0.2), 2 is at 1
# from 0 and 0.4 from 1, 3 at 0.4 from 2 (cosine 0.6) and farther from the rest: 0.2, 0.2, 0.4, 0.4.
_FIRST = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.8, 0.6]]
_X = _FIRST + _FIRST
ROW = Row(
    reference,
    (
        # Equal attention, one token each: 2, the earlier of 2 and 3. With four times the attention, 0 has 0.8.
        Case(
            _X,
            2,
            [2, 4],
            grid=(4, 1, 2),
            scores={"received_attention": [1.0, 1.0, 1.0, 0.9, 4.0, 1.0, 1.0, 1.0]},
        ),
        # Behind 2: 0 is at 1, 1 at 0.4, 3 at 0.4. Behind 0 of the second window: 1 at 0.2, 2 at 1, 3 at 1.8.
        Case(
            _X,
            4,
            [0, 2, 4, 7],
            grid=(4, 1, 2),
            scores={"received_attention": [1.0, 1.0, 1.0, 0.9, 4.0, 1.0, 1.0, 1.0]},
        ),
        # One window for all: equal tokens leave no distance between them, so attention 4 gains nothing at first: the
        # earliest of the ties is 0, and the farthest from it is 3 (1.8).
        Case(
            _X,
            2,
            [0, 3],
            grid=(4, 1, 2),
            scores={"received_attention": [1.0] * 8},
            params={"window": 4},
        ),
    ),
    params=({}, {"window": 1}, {"window": 5}),
    exact_flops=False,
)
