"""MMTok, by plain greedy selection over the two softmaxes."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row


def shares(of: Array, to: Array, temperature: float) -> Array:
    """(R, N): softmax over the N rows of ``to`` of the cosines of each row of ``of``."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8) for rows in (of, to)]
    scaled = unit[0] @ unit[1].T / temperature
    weights = np.exp(scaled - scaled.max(1, keepdims=True))
    out: Array = weights / weights.sum(1, keepdims=True)
    return out


def reference(given: Given, m: int) -> list[int]:
    """Every candidate's gain is summed anew in every step."""
    x, words = given.x, given.scores["text_features"]
    words = words[np.abs(words).sum(1) > 0]
    alpha = float(given.params.get("alpha", 0.5))  # type: ignore[arg-type]
    parts = [alpha * shares(x, x, 0.2) / len(x)]
    if len(words):
        parts.append(shares(words, x, 0.02) / len(words))
    value = np.concatenate(parts)
    covered, chosen = np.zeros(len(value)), list[int]()
    while len(chosen) < m:
        gain = {
            j: round(float(np.maximum(value[:, j] - covered, 0.0).sum()), 9) for j in range(len(x)) if j not in chosen
        }
        best = min(gain, key=lambda j: (-gain[j], j))
        chosen.append(best)
        covered = np.maximum(covered, value[:, best])
    return sorted(chosen)


# One word that points as token 2 does: its softmax is all there, so token 2 gains 1 and more. Then the item decides, in
# eighths: tokens 0 and 1 share what points their way, 1 / (2 + e^-5) = 0.498 each, so that 0 adds 2 x 0.498; of what
# token 2 covers already (0.980 of itself, 0.003 of 0 and 1, 0.007 of 3), token 3 adds 0.993 - 0.007 = 0.987.
_X = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
_WORDS = [[0.0, 0.0], [0.0, 1.0]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [2], scores={"text_features": _WORDS}),
        Case(_X, 2, [0, 2], scores={"text_features": _WORDS}),
        # Without a word 0 is first (2 x 0.498 + 0.007), then 3 (0.993) in front of 2 (0.980 - 0.007 + 0.007).
        Case(_X, 2, [0, 3], scores={"text_features": [[0.0, 0.0]]}),
    ),
    params=({}, {"alpha": 0.1}),
)
