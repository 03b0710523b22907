"""PixelPrune, place by place."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """Every token by the neighbours that exist; differences are taken anew."""
    values = given.scores["patch_embeddings"]
    places = [tuple(int(v) for v in place) for place in given.places]
    at = {place: i for i, place in enumerate(places)}
    adaptive = bool(given.params.get("adaptive"))
    bar = float(str(given.params.get("threshold", 0.0)))

    def apart(i: int, j: int) -> float:
        return float(np.abs(values[i] - values[j]).max())

    errors = []
    for i, (t, y, x) in enumerate(places):
        left, above, corner = at.get((t, y, x - 1)), at.get((t, y - 1, x)), at.get((t, y - 1, x - 1))
        if left is None and above is None:
            errors.append(math.inf)
        elif left is None:
            errors.append(apart(i, above))  # type: ignore[arg-type]
        elif above is None or corner is None:
            errors.append(apart(i, left))
        else:
            a, b = apart(corner, left), apart(corner, above)
            edge = a <= bar < b if adaptive else a < b
            errors.append(apart(i, above if edge else left))
    if adaptive:
        m = min(m, sum(error > bar for error in errors))
    return top(np.array(errors), m)


# 0 0 5 over 0 0 5. The first token has no neighbour, token 2 is 5 off its left one. Of the second row, 3 equals the
# one above, 4 its left; at 5 the corner (1) equals the left (4), not the one above (2): that one predicts.
_EDGE = {"patch_embeddings": [[0.0], [0.0], [5.0], [0.0], [0.0], [5.0]]}
# 0 3 over 1 3: the corner is nearer to the left (1) than to the one above (3), which predicts token 3; by a threshold
# of 0 there is no edge, and the left is 2 off.
_NEARER = {"patch_embeddings": [[0.0], [3.0], [1.0], [3.0]]}
_SIX, _FOUR = [[1.0]] * 6, [[1.0]] * 4
ROW = Row(
    reference,
    (
        Case(_SIX, 2, [0, 2], grid=(1, 2, 3), scores=_EDGE),
        # Equal errors: the earlier stays.
        Case(_SIX, 3, [0, 1, 2], grid=(1, 2, 3), scores=_EDGE),
        Case(_SIX, 6, [0, 2], grid=(1, 2, 3), scores=_EDGE, params={"adaptive": True}),
        # A level edge, 0 0 over 5 5: at 3 the corner equals the one above, so the left predicts. Only 0 and 2 stay.
        Case(
            _FOUR,
            4,
            [0, 2],
            grid=(1, 2, 2),
            scores={"patch_embeddings": [[0.0], [0.0], [5.0], [5.0]]},
            params={"adaptive": True},
        ),
        Case(_FOUR, 3, [0, 1, 2], grid=(1, 2, 2), scores=_NEARER),
        Case(_FOUR, 4, [0, 1, 2, 3], grid=(1, 2, 2), scores=_NEARER, params={"adaptive": True}),
        # The two frames of a video have nothing to do with each other.
        Case([[1.0]] * 2, 2, [0, 1], grid=(2, 1, 1), scores={"patch_embeddings": [[1.0], [1.0]]}),
    ),
    permutes=True,
    params=({}, {"adaptive": True, "threshold": 1.5}),
)
