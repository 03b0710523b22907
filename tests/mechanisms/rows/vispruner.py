"""VisPruner, with a list that is thinned."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """The published loop on a list of tokens; the similarity of every pair looked up again each round."""
    x, attention = given.x, given.scores["cls_attention"]
    ratio = float(str(given.params.get("important_ratio", 0.5)))
    by_attention = sorted(range(len(x)), key=lambda i: (-attention[i], i))
    important = by_attention[: int(m * ratio + 1e-9)]
    rest, wanted = by_attention[len(important) :], m - len(important)
    if wanted == 0:
        return sorted(important)
    while len(rest) > wanted:
        even, odd = rest[::2], rest[1::2]
        closest = {i: max(cosine(x[i], x[j]) for j in odd) for i in even}
        even.sort(key=lambda i: -closest[i])
        leaving = min(8, len(rest) - wanted, len(odd))
        rest = even[leaving:] + odd
    return sorted(important + rest)


# A budget of 3 is 1 important token, 0, and 2 distinct ones. The rest by attention: 2 5 4 3 1. Of 2, 4, 1 (every
# second), 2 is close to 5 and 4 to 3, and both leave: 1 5 3. Of 1, 3, the closer one to 5 is 3.
_X = [[1.0, 1.0], [-1.0, -0.5], [1.0, 0.0], [0.2, 1.0], [0.0, 1.0], [1.0, 0.1]]
_SCORES = {"cls_attention": [0.9, 0.1, 0.8, 0.2, 0.3, 0.4]}
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 1, 5], scores=_SCORES),
        Case(_X, 3, [0, 2, 5], scores=_SCORES, params={"important_ratio": 1.0}),
    ),
    permutes=True,
    params=({}, {"important_ratio": 0.0}, {"important_ratio": 0.8}),
)
