"""DART on embeddings: the pivots of DART, with the embeddings in the place of the keys."""

from __future__ import annotations

from dataclasses import replace

from ..kit import Given, Row
from . import dart


def reference(given: Given, m: int) -> list[int]:
    """As `dart.reference`, whose norms are of keys."""
    text = given.scores["text_features"]
    return dart.reference(replace(given, scores={"keys": given.x, "text_keys": text, "text_features": text}), m)


# One pivot each: L1 norms 5, 1, 1.4, 1.1, 1 make token 0 the item's, which points right and down; norms 1 and 2 make
# the second text token the text's, which points up.
# Token 0 keeps token 3 first (left), then token 4 (cosine -0.55); the text keeps token 2.
_X = [[3.0, -2.0], [0.9, 0.1], [0.6, -0.8], [-1.0, 0.1], [0.0, 1.0]]
_SCORES = {"text_features": [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]}
ROW = Row(
    reference,
    tuple(replace(case, x=_X, scores=_SCORES) for case in dart.ROW.cases),  # as many survivors, the same kept
    permutes=True,
    params=dart.ROW.params,
)
