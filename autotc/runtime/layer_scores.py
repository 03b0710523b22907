"""Answers decoder stages' requests for scores from one layer's projections: just the rows that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from autotc.models import Projections
from autotc.runtime.columns import gather_columns
from autotc.runtime.scores import attention_rank, attention_rows, global_query_attention
from autotc.runtime.tracks import Track

KEY_BLOCK = 1024
"""Keys that `LayerScores.last_query_attention` rotates at a time."""


class LayerScores:
    """Scores of one layer over one sequence, on the device of its keys.

    Args:
        projections: of the layer.
        query: projected queries (I, R, H x D) of columns (I, R) of batch rows (I,).
        key: (B, L, G x D), projected, before rotation.
        rotary: what the layer gets as position embeddings, of this sequence.
        valid: (B, L) bool.
        heads: how heads are joined.
        past: keys (B, G, P, D), rotary applied, of earlier turns of the conversation, and which of them are real
            (B, P) bool. Queries of this turn see them; scores are of this turn's tokens.
        value: (B, L, G x D), projected; None where none are asked for.
    """

    def __init__(
        self,
        projections: Projections,
        query: Callable[[Tensor, Tensor], Tensor],
        key: Tensor,
        rotary: Sequence[Tensor],
        valid: Tensor,
        heads: Literal["mean", "max"],
        past: tuple[Tensor, Tensor] | None = None,
        value: Tensor | None = None,
    ) -> None:
        self._projections, self._query, self._heads = projections, query, heads
        b = valid.shape[0]
        self._rotary = [part.expand(b, *part.shape[1:]) for part in rotary]
        self._key = projections.split(key, "key").transpose(1, 2)
        self._value = None if value is None else projections.split(value, "value")
        self._valid = valid.to(key.device, non_blocking=True)
        empty = self._key[:, :, :0], self._valid[:, :0]
        past_key, past_valid = empty if past is None else past
        self._past = past_key.to(key.device)
        self._seen = torch.cat([past_valid.to(key.device), self._valid], 1)
        self._behind = self._past.shape[2]

    @cached_property
    def _rotated(self) -> Tensor:
        """Keys (B, G, L, D) of this turn, rotary applied."""
        _, rotated = self._projections.rotate(self._key, self._key, tuple(self._rotary))
        return rotated

    def _heads_of(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(I, H, R, D), before rotation."""
        return self._projections.split(self._query(rows, columns), "query").transpose(1, 2)

    def _placed(self, track: Track) -> tuple[Tensor, Tensor]:
        """Batch row of each item, and column of each token, -1 on padding."""
        device = self._key.device
        return track.batch_row.to(device, non_blocking=True), track.batch_column.to(device, non_blocking=True)

    def _queries(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(I, H, R, D), rotary applied."""
        heads = self._heads_of(rows, columns)
        rotary: Any = tuple(gather_columns(part, rows, columns) for part in self._rotary)
        rotated, _ = self._projections.rotate(heads, heads, rotary)
        return rotated

    def _rows(self, rows: Tensor, columns: Tensor) -> Any:
        """Attention of queries at columns (I, R), a block at a time: (first query, (I, rows, P + L))."""
        query, key = self._queries(rows, columns), torch.cat([self._past, self._rotated], 2)[rows]
        at = torch.where(columns >= 0, columns + self._behind, -1)
        return attention_rows(query, at, key, self._projections.scaling, self._seen[rows], self._heads)

    def last_query_attention(self, track: Track) -> Tensor:
        """(I, N)."""
        column = torch.arange(self._valid.shape[1], device=self._valid.device)
        last = torch.where(self._valid, column, -1).amax(1, keepdim=True)
        batch = torch.arange(len(last), device=last.device)
        query = self._queries(batch, last)
        b, h, _, d = query.shape
        groups = self._key.shape[1]
        grouped = query.view(b, groups, h // groups, d)
        parts = [torch.matmul(grouped, self._past.to(grouped.dtype).mT).float()]
        # Rotated a run of keys at a time, so that what is held is a row of scores per head.
        for start in range(0, len(column), KEY_BLOCK):
            key = self._key[:, :, start : start + KEY_BLOCK]
            rotary: Any = tuple(part[:, start : start + KEY_BLOCK] for part in self._rotary)
            parts.append(torch.matmul(grouped, self._projections.rotate(key, key, rotary)[1].mT).float())
        scores = torch.cat(parts, -1).view(b, h, -1) * self._projections.scaling
        weights = scores.masked_fill(~self._seen[:, None], -torch.inf).softmax(-1)
        joined = weights.mean(1) if self._heads == "mean" else weights.amax(1)
        return self._at(joined[:, self._behind :], track)

    def text_attention(self, track: Track, text: Tensor) -> Tensor:
        """(I, N, T) of the query span's columns ``text`` (B, T)."""
        text = text.to(self._key.device, non_blocking=True)
        batch = torch.arange(len(text), device=text.device)
        rows = torch.cat([block for _, block in self._rows(batch, text)], 1)[..., self._behind :]
        return gather_columns(rows.mT, *self._placed(track))

    def received_attention(self, track: Track) -> Tensor:
        """(I, N)."""
        total = torch.zeros(len(track.items), self._valid.shape[1], device=self._valid.device)
        rows, columns = self._placed(track)
        for _, block in self._rows(rows, columns):
            total += block.sum(1)[:, self._behind :]
        mean = total / track.valid.sum(1, keepdim=True).clamp_min(1)
        return mean.gather(1, columns.clamp_min(0))

    def global_query_attention(self, track: Track) -> Tensor:
        """(I, N), of queries and keys before rotation, as PACT's official code has them."""
        rows, at = self._placed(track)
        index = at.clamp_min(0)[:, None, :, None].expand(-1, self._key.shape[1], -1, self._key.shape[3])
        query = self._heads_of(rows, at)
        return global_query_attention(query, self._key[rows].gather(2, index), self._projections.scaling, track.valid)

    def attention_rank(self, track: Track) -> Tensor:
        """(I, N), of the tokens of this turn among each other: of earlier ones no queries are left."""
        batch = torch.arange(len(self._valid), device=self._valid.device)
        column = torch.arange(self._valid.shape[1], device=self._valid.device).expand(self._valid.shape)
        query = self._queries(batch, column)
        rank = attention_rank(query, self._rotated, self._projections.scaling, self._valid)
        return self._at(rank, track)

    def keys(self, track: Track) -> Tensor:
        """(I, N, D)."""
        return gather_columns(self._key.mean(1), *self._placed(track))

    def text_keys(self, track: Track, text: Tensor) -> Tensor:
        """(I, T, D) of the query span's columns ``text`` (B, T)."""
        rows, _ = self._placed(track)
        return gather_columns(self._key.mean(1), rows, text.to(rows.device, non_blocking=True)[rows])

    def values(self, track: Track) -> Tensor:
        """(I, N, G, D)."""
        return self._values_at(*self._placed(track))

    def text_values(self, track: Track, text: Tensor) -> Tensor:
        """(I, T, G, D) of the query span's columns ``text`` (B, T)."""
        rows, _ = self._placed(track)
        return self._values_at(rows, text.to(rows.device, non_blocking=True)[rows])

    def rotation(self, track: Track) -> Tensor:
        """(I, N, 2)."""
        means = torch.stack([part.float().mean(-1) for part in self._rotary], -1)
        rows, columns = self._placed(track)
        return gather_columns(means.to(rows.device), rows, columns)

    def _values_at(self, rows: Tensor, columns: Tensor) -> Tensor:
        assert self._value is not None  # asked for
        flat = gather_columns(self._value.flatten(2), rows, columns)
        return flat.view(*flat.shape[:2], *self._value.shape[2:])

    def _at(self, row: Tensor, track: Track) -> Tensor:
        rows, columns = self._placed(track)
        return row[rows].gather(1, columns.clamp_min(0))
