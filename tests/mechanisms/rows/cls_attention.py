"""FasterVLM: a top-k."""

from __future__ import annotations

from ..kit import Case, Given, Row, top


def reference(given: Given, m: int) -> list[int]:
    """Top-k of the class token's attention."""
    return top(given.scores["cls_attention"], m)


# Token 1 is attended most; 0 and 3 tie, and the earlier one stays.
ROW = Row(
    reference,
    (Case([[1.0]] * 4, 2, [0, 1], scores={"cls_attention": [0.25, 0.4, 0.1, 0.25]}),),
    permutes=True,
)
