"""The last user turn of a chat, found by ids."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.lazy import Tensor, torch

QWEN_CHAT = ((151644, 872), (151645,), (*range(151643, 151666), 198))
"""Qwen's released vocabulary: <|im_start|>user, <|im_end|>, and the template: special tokens and the newline."""


def _found(ids: Tensor, pattern: Sequence[int]) -> Tensor:
    """(B, L) bool: where a run of ids ends."""
    out = ids == pattern[-1]
    for back, token in enumerate(reversed(pattern[:-1]), start=1):
        out &= ids.roll(back, 1) == token
    out[:, : len(pattern) - 1] = False
    return out


def last_turn(ids: Tensor, opening: Sequence[int], closing: Sequence[int]) -> Tensor:
    """(B, L) bool: what stands between the last opening of a user's turn and the closing after it.

    Args:
        ids: (B, L) long.
        opening: ids that open a turn; a row without any opens before its first token.
        closing: ids that close it; where they are missing the turn goes on to the end.
    """
    column = torch.arange(ids.shape[1], device=ids.device)
    first = torch.where(_found(ids, opening), column, -1).amax(1, keepdim=True)
    closed = _found(ids, closing) & (column > first)
    last = torch.where(closed, column - (len(closing) - 1), ids.shape[1]).amin(1, keepdim=True)
    return (column > first) & (column < last)
