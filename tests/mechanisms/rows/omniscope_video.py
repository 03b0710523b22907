"""OmniScope's video step, frame by frame."""

from __future__ import annotations

import numpy as np

from autotc.mechanisms import Score

from ..kit import Case, Given, Row, cosine, top
from .dash_video import crowded
from .speechprune import shares


def reference(given: Given, m: int) -> list[int]:
    """Shares by the cubed relevance of frames; what others replace least."""
    frames, rows, columns = given.grid
    cells = rows * columns
    x = given.x.reshape(frames, cells, -1)
    setting = {"power": 3.0, "neighbours": 5, "change_below": 0.4}
    setting |= {name: float(str(value)) for name, value in given.params.items()}
    relevance = given.scores["text_similarity"].reshape(frames, cells).mean(1)
    weights = [max(float(r), 0.0) ** setting["power"] for r in relevance]
    if not any(weights):
        weights = [1.0] * frames
    kept: list[int] = []
    for t, count in enumerate(shares([max(w, 1e-30) for w in weights], [cells] * frames, m)):
        if t % 2 == 0:
            score = -crowded(x[t], int(setting["neighbours"]))
        elif count <= setting["change_below"] * cells:
            score = np.array([1 - cosine(x[t, i], x[t - 1, i]) for i in range(cells)])
        else:
            echo = np.array([max(cosine(x[t, i], before) for before in x[t - 1]) for i in range(cells)])
            score = -crowded(x[t], 1) * echo
        kept += [t * cells + i for i in top(score, count)]
    return kept


# Two frames of four. In the first the most similar other is at cosine 0.96 for 0 and 1, and at 0.6 for 2 and 3.
_FIRST = [[1.0, 0.0], [0.96, 0.28], [0.0, 1.0], [-0.8, 0.6]]
_SECOND = [[1.0, 0.0], [0.96, 0.28], [0.0, -1.0], [-0.8, -0.6]]
_EVEN: dict[Score, object] = {"text_similarity": [0.5] * 8}
ROW = Row(
    reference,
    (
        # Equal frames, 1 and 1: the least crowded is 2, as early as 3; a quarter is kept, so the second keeps what
        # changed most: 2 has 1 - cos((0, -1), (0, 1)) = 2, 3 has 1 - (0.64 - 0.36) = 0.72.
        Case(_FIRST + _SECOND, 2, [2, 6], grid=(2, 2, 2), scores=_EVEN, params={"neighbours": 1}),
        # Relevance 0.2 and 0.4 weighs 1 to 8: of 3 tokens 0.33 and 2.67, all to the second. Three quarters are kept:
        # largest cosines within, 0 and 1: 0.96, 2 and 3: 0.6; to the first frame, 0 and 1: 1, 2: 0 (of (1, 0)), 3:
        # 0.28. Products 0.96, 0.96, 0 and 0.168: 2, 3, then 0.
        Case(
            _FIRST + _SECOND,
            3,
            [4, 6, 7],
            grid=(2, 2, 2),
            scores={"text_similarity": [0.2] * 4 + [0.4] * 4},
            params={"neighbours": 1},
        ),
    ),
    params=({}, {"power": 1.0, "change_below": 0.0}, {"neighbours": 2, "change_below": 1.0}),
)
