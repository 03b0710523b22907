"""Dual attention: by moving both thresholds together."""

from __future__ import annotations

from ..kit import Case, Given, Row


def reference(given: Given, m: int) -> list[int]:
    """Lower both thresholds by one factor until enough tokens pass either of them."""
    attention = given.scores["text_attention"]
    whole, single = (float(str(given.params.get(f"{kind}_threshold", 0.001))) for kind in ("global", "individual"))
    total = attention.sum()
    factor = [max(row.sum() / total / whole, max(row) / single) for row in attention]
    if given.params.get("adaptive"):
        passing = [
            i
            for i, row in enumerate(attention)
            if not (row.sum() < total * whole and max(row) < single)  # as published
        ]
        if len(passing) <= m and passing:
            return passing
        m = min(m, max(1, len(passing)))
    return sorted(sorted(range(len(factor)), key=lambda i: (-factor[i], i))[:m])


_X = [[0.0], [0.0], [0.0], [0.0]]
# Two text tokens; shares of the total of 2: 0.25, 0.2, 0.175, 0.375; the largest: 0.5, 0.2, 0.3, 0.4.
_TEXT = {"text_attention": [[0.5, 0.0], [0.2, 0.2], [0.3, 0.05], [0.35, 0.4]]}
_TIGHT = {"adaptive": True, "global_threshold": 0.2, "individual_threshold": 0.45}
ROW = Row(
    reference,
    (
        # With equal thresholds the largest single attention, which is above every share, decides.
        Case(_X, 2, [0, 3], scores=_TEXT),
        Case(_X, 3, [0, 2, 3], scores=_TEXT),
        # A share counts ten times as much: 0.375 wins over 0.25.
        Case(_X, 1, [3], scores=_TEXT, params={"global_threshold": 0.0001}),
        # 3 passes by its share of 0.375, 0 by its single 0.5; the others (0.19 and 0.18 of the total) by neither.
        Case(
            _X,
            4,
            [0, 3],
            scores={"text_attention": [[0.5, 0.0], [0.2, 0.15], [0.3, 0.05], [0.35, 0.4]]},
            params=_TIGHT,
        ),
    ),
    permutes=True,
    params=(
        {},
        {"global_threshold": 0.0001},
        {"adaptive": True, "global_threshold": 0.05, "individual_threshold": 0.8},
    ),
)
