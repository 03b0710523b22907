"""MoB, by its algorithm 1 on lists and dictionaries."""

from __future__ import annotations

from ..kit import Case, Given, Row, cosine


def reference(given: Given, m: int) -> list[int]:
    """Nominations by prompt tokens, the best of them, then farthest-point sampling, every distance looked up again."""
    x, text, n = given.x, given.scores["text_features"], len(given.x)
    share = int(m * float(str(given.params.get("prompt_share", 0.375))) + 0.5)
    fold = max(1, int(share * float(str(given.params.get("fold", 0.125))) + 0.5))
    nominated: dict[int, float] = {}
    for prompt in text:
        likeness = {i: cosine(prompt, x[i]) for i in range(n)}
        for i in sorted(likeness, key=lambda i: -likeness[i])[:fold]:
            nominated[i] = max(nominated.get(i, -2.0), likeness[i])
    chosen = sorted(nominated, key=lambda i: -nominated[i])[:share]
    while len(chosen) < m:
        free = [i for i in range(n) if i not in chosen]
        chosen.append(max(free, key=lambda i: min((1 - cosine(x[i], x[j]) for j in chosen), default=0.0)))
    return sorted(chosen)


# The text tokens (the first is padding) nominate the token nearest to them: 1 and 2, with cosines 1 and 0.995. With
# half of two for the prompt, 1 survives and 3, the most unlike it, is farthest; with all for the prompt, 1 and 2; with
# none, sampling starts at the first token and then goes to 3, at 180 degrees.
_X = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]]
_SCORES = {"text_features": [[0.0, 0.0], [4.0, 3.0], [0.1, 1.0]]}
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], scores=_SCORES, params={"prompt_share": 0.5}),
        Case(_X, 2, [1, 2], scores=_SCORES, params={"prompt_share": 1.0}),
        Case(_X, 2, [0, 3], scores=_SCORES, params={"prompt_share": 0.0}),
        Case(_X, 4, [0, 1, 2, 3], scores=_SCORES),
    ),
    exact_flops=False,
    params=({}, {"prompt_share": 0.8, "fold": 0.5}, {"prompt_share": 0.0}),
)
