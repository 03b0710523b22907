"""Scores that mechanisms ask for, computed from captured projections: only the rows needed, never an N x N matrix."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from autotc.mechanisms.scores import RANK_ROUNDS, RANK_TEMPERATURE

ROWS = 256
"""Query rows whose attention is held at a time."""


def attention_rows(
    query: Tensor, at: Tensor, key: Tensor, scaling: float, valid: Tensor, heads: Literal["mean", "max"]
) -> Iterator[tuple[int, Tensor]]:
    """Causal attention of some queries, joined over heads, a block of queries at a time.

    Args:
        query: (B, H, R, D), rotary applied.
        at: (B, R) long, column of each query in the sequence; -1 for none.
        key: (B, G, L, D), rotary applied; G divides H (grouped-query attention).
        scaling: factor of the scores.
        valid: (B, L) bool, keys that can be seen.
        heads: how heads are joined.

    Yields:
        First query of the block, and the block's attention (B, rows, L) float32: rows sum to 1 over the keys that the
        query sees where heads are averaged; zeros where there is no query.
    """
    b, h, r, d = query.shape
    g = key.shape[1]
    column = torch.arange(key.shape[2], device=key.device)
    for start in range(0, r, ROWS):
        rows = query[:, :, start : start + ROWS]
        size = rows.shape[2]
        grouped = rows.reshape(b, g, h // g * size, d)
        scores = torch.matmul(grouped, key.transpose(2, 3)).float() * scaling
        scores = scores.view(b, h, size, -1)
        here = at[:, start : start + ROWS]
        seen = valid[:, None] & (column <= here[..., None])
        # A row that sees nothing would be NaN; it sees everything and counts for nothing.
        blind = ~seen.any(-1, keepdim=True)
        weights = scores.masked_fill(~(seen | blind)[:, None], -torch.inf).softmax(-1)
        joined = weights.mean(1) if heads == "mean" else weights.amax(1)
        yield start, joined.masked_fill(blind, 0.0)


def attention_rank(query: Tensor, key: Tensor, scaling: float, valid: Tensor) -> Tensor:
    """PageRank of the tokens on each head's causal attention, `RANK_ROUNDS` rounds from equal ranks, without damping.

    As in AIM's official code, scores are divided by 0.1 before the softmax, and heads are joined by the root of the
    mean square.

    Args:
        query: (B, H, L, D), rotary applied.
        key: (B, G, L, D), rotary applied.
        scaling: factor of the scores.
        valid: (B, L) bool.

    Returns:
        (B, L) float32; a head's ranks sum to 1 over the valid tokens.
    """
    b, h, length, d = query.shape
    g = key.shape[1]
    column = torch.arange(length, device=key.device)
    equal = valid.float() / valid.sum(1, keepdim=True).clamp_min(1)
    rank = equal[:, None].expand(b, h, length)
    for _ in range(RANK_ROUNDS):
        onward = torch.zeros_like(rank)
        for start in range(0, length, ROWS):
            rows = query[:, :, start : start + ROWS]
            size = rows.shape[2]
            scores = torch.matmul(rows.reshape(b, g, h // g * size, d), key.transpose(2, 3)).float()
            scores = scores.view(b, h, size, length) * (scaling / RANK_TEMPERATURE)
            seen = valid[:, None] & (column <= column[start : start + ROWS, None])
            # A padded row sees nothing; it sees everything and, having no rank, passes none on.
            seen |= ~seen.any(-1, keepdim=True)
            weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
            onward += torch.matmul(rank[:, :, None, start : start + size], weights)[:, :, 0]
        rank = onward
    return rank.square().mean(1).sqrt()


def global_query_attention(query: Tensor, key: Tensor, scaling: float, valid: Tensor) -> Tensor:
    """Attention that an item's mean query pays to its own tokens, mean over heads.

    Args:
        query: (B, H, N, D) of the item's tokens, before rotation.
        key: (B, G, N, D) of the same.
        scaling: factor of the scores.
        valid: (B, N) bool.

    Returns:
        (B, N) float32, sums to 1 over valid tokens.
    """
    b, h, _, d = query.shape
    g = key.shape[1]
    real = valid[:, None, :, None]
    mean = query.masked_fill(~real, 0.0).sum(2) / valid.sum(1)[:, None, None].clamp_min(1)
    scores = torch.matmul(mean.view(b, g, h // g, d), key.transpose(2, 3)).float() * scaling
    return scores.masked_fill(~valid[:, None, None, :], -torch.inf).softmax(-1).mean((1, 2))


def received_attention(
    query: Tensor, key: Tensor, edges: Sequence[int], scaling: float, visible: Tensor | None = None
) -> Tensor:
    """Attention each row receives, mean over heads and over the queries of its segment, times the segment's length.

    Args:
        query, key: (S, H, D), position embedding applied.
        edges: cumulative lengths of the segments, from 0; rows attend within their segment.
        scaling: factor of the scores.
        visible: (S,) bool, rows that are seen and count as queries; None for all.

    Returns:
        (S,) float32; its mean over each segment's visible rows is 1.
    """
    out = torch.zeros(query.shape[0], device=query.device)
    for start, end in itertools.pairwise(edges):
        keys = key[start:end].permute(1, 2, 0)
        for at in range(start, end, ROWS):
            to = min(at + ROWS, end)
            scores = torch.bmm(query[at:to].transpose(0, 1), keys).float() * scaling
            if visible is None:
                out[start:end] += scores.softmax(-1).mean(0).sum(0)
            else:
                weights = scores.masked_fill(~visible[start:end], -torch.inf).softmax(-1).mean(0)
                out[start:end] += weights.masked_fill(~visible[at:to, None], 0.0).sum(0)
    return out


def class_attention(query: Tensor, key: Tensor, edges: Sequence[int], scaling: float) -> Tensor:
    """Attention that each segment's class token pays to its rows, mean over heads.

    Args:
        query: (segments, H, D) of the class tokens, position embedding applied.
        key: (S, H, D).
        edges: cumulative lengths of the segments, from 0.
        scaling: factor of the scores.

    Returns:
        (S,) float32, summing to 1 over each segment.
    """
    out = torch.zeros(key.shape[0], device=key.device)
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        scores = torch.bmm(query[i][:, None], key[start:end].permute(1, 2, 0)).float()[:, 0] * scaling
        out[start:end] = scores.softmax(-1).mean(0)
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
