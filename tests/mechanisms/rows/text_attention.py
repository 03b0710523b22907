"""Text attention, by sorting."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """The highest scores, over all or frame by frame."""
    attention = given.scores["text_attention"]
    peak = given.params.get("reduce", "max") == "max"
    score = np.array([max(row) if peak else sum(row) for row in attention])
    if not given.params.get("per_frame"):
        return top(score, m)
    frames = sorted(set(given.places[:, 0].tolist()))
    members = [[i for i in range(len(score)) if given.places[i, 0] == frame] for frame in frames]
    ideal = [m * len(tokens) / len(score) for tokens in members]
    count = [int(share + 1e-9) for share in ideal]
    order = sorted(range(len(frames)), key=lambda f: (-(ideal[f] - count[f]), f))
    for f in order[: m - sum(count)]:
        count[f] += 1
    kept = [tokens[i] for tokens, c in zip(members, count, strict=True) for i in top(score[tokens], c)]
    return sorted(kept)


_X = [[0.0], [0.0], [0.0], [0.0]]
# Two text tokens. The largest per token: 0.5, 0.2, 0.3, 0.4; the sums: 0.5, 0.4, 0.35, 0.6.
_TEXT = {"text_attention": [[0.5, 0.0], [0.2, 0.2], [0.3, 0.05], [0.2, 0.4]]}
ROW = Row(
    reference,
    (
        Case(_X, 1, [0], scores=_TEXT),
        Case(_X, 2, [0, 3], scores=_TEXT),
        Case(_X, 1, [3], scores=_TEXT, params={"reduce": "mean"}),
        # One of each frame's two tokens: 0.5 before 0.2, 0.4 before 0.3.
        Case(_X, 2, [0, 3], scores=_TEXT, grid=(2, 1, 2), params={"per_frame": True}),
        # 1.5 each: the earlier frame gets the odd one.
        Case(_X, 3, [0, 1, 3], scores=_TEXT, grid=(2, 1, 2), params={"per_frame": True}),
    ),
    permutes=True,
    params=({}, {"reduce": "mean"}, {"per_frame": True}),
)
