"""FitPrune: what the published code deletes, one by one."""

from __future__ import annotations

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """Delete the token of least self- times cross-attention until the budget is met."""
    score = {}
    for i in range(len(given.x)):
        cross = sum(float(value) for value in given.scores["text_attention"][i])
        score[i] = float(given.scores["received_attention"][i]) * cross
    while len(score) > m:
        del score[min(score, key=lambda i: (score[i], -i))]
    return sorted(score)


# Products: 0.9 x 0.1, 0.5 x 0.6, 0.1 x 1.8. Neither self-attention (0 first) nor cross-attention (2 first) decides.
_SCORES = {"received_attention": [0.9, 0.5, 0.1], "text_attention": [[0.1, 0.0], [0.3, 0.3], [0.9, 0.9]]}
ROW = Row(
    reference,
    (Case([[1.0]] * 3, 1, [1], scores=_SCORES), Case([[1.0]] * 3, 2, [1, 2], scores=_SCORES)),
    permutes=True,
)
