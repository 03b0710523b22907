"""HiPrune, by places."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """Anchors, the tokens one step away from each, then the most attended others."""
    middle, deep, n = given.scores["middle_attention"], given.scores["received_attention"], len(given.x)
    places = [tuple(int(v) for v in place) for place in given.places]
    anchors = top(middle, round(m * float(str(given.params.get("alpha", 0.1))) / 5))
    buffers = []
    for i in range(n):
        t, y, x = places[i]
        steps = {(t, y - 1, x), (t, y + 1, x), (t, y, x - 1), (t, y, x + 1)}
        if i not in anchors and any(places[a] in steps for a in anchors):
            buffers.append(i)
    others = [i for i in range(n) if i not in anchors and i not in buffers]
    ranked = sorted(anchors, key=lambda i: -middle[i]) + sorted(buffers, key=lambda i: -middle[i])
    return sorted((ranked + sorted(others, key=lambda i: -deep[i]))[:m])


# One anchor of a budget of 5. The centre brings its four neighbours; the end of the first row just those in the grid
# (3, next to it by index, is in the next row), and the two most attended of the last block fill up.
_DEEP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
ROW = Row(
    reference,
    (
        Case(
            [[1.0]] * 9,
            5,
            [1, 3, 4, 5, 7],
            grid=(1, 3, 3),
            scores={"middle_attention": [0.1] * 4 + [0.9] + [0.1] * 4, "received_attention": _DEEP},
            params={"alpha": 1.0},
        ),
        Case(
            [[1.0]] * 9,
            5,
            [1, 2, 5, 7, 8],
            grid=(1, 3, 3),
            scores={"middle_attention": [0.1] * 2 + [0.9] + [0.1] * 6, "received_attention": _DEEP},
            params={"alpha": 1.0},
        ),
    ),
    permutes=True,
    params=({}, {"alpha": 0.5}, {"alpha": 1.0}),
)
