"""VisionZip, with lists of assigned tokens."""

from __future__ import annotations

from ..kit import Array, Case, Given, Row, cosine, top


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Dominant tokens as they are; evenly spaced targets plus the mean of what is assigned to each."""
    keys, x = given.scores["keys"], given.x
    share = float(str(given.params.get("dominant_share", 54 / 64)))
    dominant = top(given.scores["cls_attention"], max(1, int(m * share + 0.5)))
    rest = [i for i in range(len(x)) if i not in dominant]
    wanted = m - len(dominant)
    targets = rest[:: max(1, len(rest) // wanted)][:wanted] if wanted else []
    assigned: dict[int, list[int]] = {t: [] for t in targets}
    for i in rest:
        if targets and i not in targets:
            assigned[max(targets, key=lambda t: (cosine(keys[i], keys[t]), -t))].append(i)
    out = x.copy()
    for t, members in assigned.items():
        if members:
            out[t] = x[t] + x[members].mean(0)
    kept = sorted(dominant + targets)
    return kept, out[kept]


# With a share of a half, a budget of 3 is 2 dominant and 1 contextual token, at the first of the rest.
_X = [[1.0], [2.0], [4.0], [8.0], [16.0]]
ROW = Row(
    reference,
    (
        Case(
            _X,
            3,
            [0, 1, 2],
            [[1.0], [2.0 + (8.0 + 16.0) / 2], [4.0]],
            scores={"cls_attention": [0.9, 0.1, 0.8, 0.2, 0.3], "keys": [[1.0, 1.0]] * 5},
            params={"dominant_share": 0.5},
        ),
        Case(_X, 1, [0], scores={"cls_attention": [0.9, 0.1, 0.8, 0.2, 0.3], "keys": [[1.0, 1.0]] * 5}),
    ),
    averages=False,
    params=({}, {"dominant_share": 0.5}),
)
