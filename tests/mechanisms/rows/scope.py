"""SCOPE, by plain greedy selection."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Every candidate's gain is summed anew in every step, and multiplied by its saliency."""
    x, n = given.x, len(given.x)
    alike = [[max(cosine(x[i], x[j]), 0.0) for j in range(n)] for i in range(n)]
    salient = given.scores["cls_attention"] ** float(given.params.get("alpha", 1.0))  # type: ignore[arg-type]
    chosen: list[int] = []
    while len(chosen) < m:
        gain = {}
        for candidate in range(n):
            if candidate in chosen:
                continue
            held = [max((alike[i][j] for j in chosen), default=0.0) for i in range(n)]
            added = round(sum(max(alike[i][candidate] - held[i], 0.0) for i in range(n)), 9)
            gain[candidate] = added * salient[candidate]
        chosen.append(min(gain, key=lambda j: (-gain[j], j)))
    return sorted(chosen)


# As in FLoC's case: token 1 covers 2.6, tokens 0 and 2 cover 2.08, token 3 covers itself alone. By attention 0.4, 0.2,
# 0.3 and 0.1 that is 0.832, 0.52, 0.624 and 0.1. Behind 0, which covers 1, 0.8 and 0.28: 1 adds 0.2 + 0.52 = 0.72
# (0.144), 2 adds 0.2 + 0.72 = 0.92 (0.276), 3 adds 1 (0.1).
_X = [[1.0, 0.0], [0.8, 0.6], [0.28, 0.96], [-0.96, -0.28]]
_SALIENT = [0.4, 0.2, 0.3, 0.1]
ROW = Row(
    reference,
    (
        Case(_X, 1, [0], scores={"cls_attention": _SALIENT}),
        Case(_X, 2, [0, 2], scores={"cls_attention": _SALIENT}),
        # Without saliency it is FLoC's choice.
        Case(_X, 2, [1, 3], scores={"cls_attention": _SALIENT}, params={"alpha": 0.0}),
    ),
    params=({}, {"alpha": 0.5}),
)
