"""DASH's audio step, token by token; its anchors are OmniZip's."""

from __future__ import annotations

import math

import numpy as np

from autotc.mechanisms import Score

from ..kit import Array, Case, Given, Row, cosine, top
from .omnizip_audio import anchored


def distinct(x: Array) -> Array:
    """1 - sum of Gaussians of the distance to the centre, relative to the closest."""
    if x.shape[1] > 10:
        spread = [float(((x[:, c] - x[:, c].mean()) ** 2).mean()) for c in range(x.shape[1])]
        x = x[:, sorted(sorted(range(x.shape[1]), key=lambda c: spread[c])[: x.shape[1] // 2])]
    x = np.stack([row / max(float(np.linalg.norm(row)), 1e-6) for row in x])
    centre = x.mean(0)
    near = np.array(
        [sum(math.exp(-float(((row - centre) ** 2).sum()) / (2 * a)) for a in (0.125, 0.25, 0.5, 1, 2)) for row in x]
    )
    out: Array = 1 - near / near.max()
    return out


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Three signals, then the anchors."""
    x, n = given.x, len(given.x)
    weight = {"breaks": 0.4, "distinct": 0.3, "attended": 0.3, "contextual_ratio": 0.05, "group": 3}
    weight |= {name: float(str(value)) for name, value in given.params.items()}
    change = np.array([1.0] + [(1 - cosine(x[i], x[i - 1])) / 2 for i in range(1, n)])
    attention = given.scores["received_attention"]
    score = (
        weight["breaks"] * change
        + weight["distinct"] * distinct(x)
        + weight["attended"] * attention / (attention.max() + 1e-6)
    )
    wanted = min(int(n * weight["contextual_ratio"] + 0.5), m - 1)
    return anchored(x, top(score, m - wanted), wanted, int(weight["group"]))


# By breaks alone, token 0 has 1; 1 goes on (0), 2 turns by a right angle (1/2), 3 goes on, 4 turns back (1/2), 5 turns
# round (1).
_X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0], [-1.0, 0.0]]
_SEEN: dict[Score, object] = {"received_attention": [0.1, 0.4, 0.1, 0.3, 0.1, 0.1]}
_BREAKS = {"distinct": 0.0, "attended": 0.0}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 5], scores=_SEEN, params=_BREAKS),
        Case(_X, 4, [0, 2, 4, 5], scores=_SEEN, params=_BREAKS),
        # Attention alone.
        Case(_X, 2, [1, 3], scores=_SEEN, params={"breaks": 0.0, "distinct": 0.0}),
        # The centre of the unit vectors is (1/3, 1/3): squared distances 5/9 and, for token 5, (16 + 1) / 9, the
        # farthest. Added, 0 and 5 have breaks 1 and 1, 1 and 3 have 0, 2 and 4 have 1/2; 5 is distinct as well.
        Case(_X, 1, [5], scores=_SEEN, params={"attended": 0.0}),
        # An anchor in six tokens (0.2 x 6 = 1.2), of 2 to be kept: 5 stays. The rest 0 to 4 has the anchor 0, which
        # takes 1 and 4, both at cosine 1, by halves, and not 2 and 3.
        Case(
            _X,
            2,
            [0, 5],
            [[(1.0 + (2.0 + 1.0) / 2) / 2, 0.0], [-1.0, 0.0]],
            scores=_SEEN,
            params={"attended": 0.0, "contextual_ratio": 0.2, "group": 2},
        ),
    ),
    params=({}, {"contextual_ratio": 0.3, "group": 1}, {"breaks": 0.0, "contextual_ratio": 0.0}),
    width=16,
)
