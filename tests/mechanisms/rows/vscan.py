"""VScan, token by token."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The most attended tokens are gone through once; a window that has its share gives no more."""
    side = int(str(given.params.get("window", 6)))
    wanted = int(m * float(str(given.params.get("local_share", 0.5))) + 1e-9)
    middle, deep, n = given.scores["middle_attention"], given.scores["cls_attention"], len(given.x)
    frames, height, width = given.grid
    down, right = max(1, height // side), max(1, width // side)
    share = math.ceil(wanted / (frames * down * right))
    order = sorted(range(n), key=lambda i: (-middle[i], i))
    held: dict[tuple[int, int, int], int] = {}
    local: list[int] = []
    for i in order:
        t, y, x = (int(v) for v in given.places[i])
        window = (t, min(y // side, down - 1), min(x // side, right - 1))
        if held.get(window, 0) < share and len(local) < wanted:
            held[window] = held.get(window, 0) + 1
            local.append(i)
    local += [i for i in order if i not in local][: wanted - len(local)]
    rest = sorted((i for i in range(n) if i not in local), key=lambda i: (-deep[i], i))
    kept = sorted(local + rest[: m - wanted])
    groups: dict[int, list[int]] = {k: [k] for k in kept}
    for i in set(range(n)) - set(kept):
        groups[max(kept, key=lambda k: (cosine(given.x[i], given.x[k]), -k))].append(i)
    return kept, np.stack([np.average(given.x[g], axis=0, weights=given.mass[g]) for g in groups.values()])


# A row of four tokens is two windows of side 2 (height 1 counts as one window). Of a budget of 3, one token is local:
# the share of a window is 1, and the most attended of the middle block is 1. The class token adds 0 and 2. Token 3
# points as 0 does and flows into it: (2 + 4) / 2 = 3.
_X = [[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [4.0, 0.0]]
_SCORES = {"middle_attention": [0.2, 0.4, 0.1, 0.3], "cls_attention": [0.4, 0.9, 0.3, 0.2]}
_SIDE = {"window": 2}
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 1, 2], [[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]], grid=(1, 1, 4), scores=_SCORES, params=_SIDE),
        # Two local tokens, one of each window: 1 and, though 0 is no less attended than 3 in its window, 3. Token 0
        # flows into 3, (2 + 4) / 2; token 2 is as near to 1 as to 3 and goes to the earlier, (0 + 1, 1 + 1) / 2.
        Case(
            _X,
            2,
            [1, 3],
            [[0.5, 1.0], [3.0, 0.0]],
            grid=(1, 1, 4),
            scores=_SCORES,
            params={"window": 2, "local_share": 1.0},
        ),
        # By mass: (3 x 2 + 1 x 4) / 4 = 2.5.
        Case(
            _X,
            3,
            [0, 1, 2],
            [[2.5, 0.0], [0.0, 1.0], [1.0, 1.0]],
            grid=(1, 1, 4),
            scores=_SCORES,
            params=_SIDE,
            mass=[3.0, 1.0, 1.0, 1.0],
        ),
    ),
    conserves=True,
    permutes=True,
    params=({}, {"window": 2}, {"window": 1, "local_share": 0.8}),
)
