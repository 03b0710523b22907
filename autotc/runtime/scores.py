"""Scores that mechanisms ask for, computed from captured projections: only the rows needed, never an N x N matrix."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

ROWS = 1024
"""Query rows that `received_attention` holds at a time."""


def attention_row(query: Tensor, key: Tensor, scaling: float, valid: Tensor) -> Tensor:
    """Attention of one query per row, mean over heads.

    Args:
        query: (B, H, 1, D), rotary applied.
        key: (B, G, L, D), rotary applied; G divides H (grouped-query attention).
        scaling: factor of the scores.
        valid: (B, L) bool, keys that the query sees.

    Returns:
        (B, L) float32, sums to 1 over valid keys.
    """
    b, h, _, d = query.shape
    g = key.shape[1]
    grouped = query.view(b, g, h // g, d)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float() * scaling
    scores = scores.masked_fill(~valid[:, None, None, :], -torch.inf)
    return scores.softmax(-1).mean((1, 2))


def received_attention(query: Tensor, key: Tensor, bounds: Tensor, scaling: float) -> Tensor:
    """Attention each row receives, mean over heads and over the queries of its segment, times the segment's length.

    Args:
        query, key: (S, H, D), position embedding applied.
        bounds: (segments + 1,) int, cumulative lengths; rows attend within their segment.
        scaling: factor of the scores.

    Returns:
        (S,) float32; its mean over each segment is 1.
    """
    out = torch.zeros(query.shape[0], device=query.device)
    edges = bounds.tolist()
    for start, end in itertools.pairwise(edges):
        keys = key[start:end].permute(1, 2, 0)
        for at in range(start, end, ROWS):
            rows = query[at : min(at + ROWS, end)].transpose(0, 1)
            weights = (torch.bmm(rows, keys).float() * scaling).softmax(-1)
            out[start:end] += weights.mean(0).sum(0)
    return out


def text_similarity(features: Tensor, query: Tensor) -> Tensor:
    """Cosine of tokens to the mean of the query's embeddings.

    Args:
        features: (B, N, D).
        query: (B, D), mean embedding of the query span; zeros where there is none.

    Returns:
        (B, N) float32; 0 where there is no query.
    """
    tokens = torch.nn.functional.normalize(features.float(), dim=-1, eps=1e-6)
    direction = torch.nn.functional.normalize(query.float(), dim=-1, eps=1e-6)
    return torch.bmm(tokens, direction[:, :, None])[..., 0]


def split_heads(projected: Tensor, heads: int) -> Tensor:
    """(B, L, heads x D) -> (B, heads, L, D)."""
    return projected.view(*projected.shape[:2], heads, -1).transpose(1, 2)
