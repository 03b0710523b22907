"""Sequences that lost columns: gathering, masks of layers with their own length, decode steps on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autotc.errors import InputsError


@dataclass
class Columns:
    """Which columns of an earlier sequence are left, row by row.

    Attributes:
        index: (B, M) long, ascending; -1 pads on the left.
        full: whether no row is padded.
        size: length of the earlier sequence.
    """

    index: Tensor
    full: bool
    size: int

    @classmethod
    def of(cls, kept: Tensor) -> Columns:
        """From a mask (B, L) bool of the columns left."""
        count = kept.sum(1)
        width = int(count.max())
        column = kept.cumsum(1) - 1 + (width - count)[:, None]
        index = torch.full((kept.shape[0], width), -1, dtype=torch.long, device=kept.device)
        row, source = kept.nonzero(as_tuple=True)
        index[row, column[row, source]] = source
        return cls(index, bool((count == width).all()), kept.shape[1])

    def then(self, later: Columns) -> Columns:
        """Columns of ``later`` in terms of this one's earlier sequence."""
        index = torch.where(later.index >= 0, self.index.gather(1, later.index.clamp_min(0)), -1)
        return Columns(index, bool((index >= 0).all()), self.size)

    def within(self, earlier: Columns) -> Columns:
        """The same columns counted in the sequence that ``earlier``, of the same sequence and a superset, left."""
        place = torch.full((len(self.index), self.size), -1, dtype=torch.long, device=self.index.device)
        row, column = earlier.valid.nonzero(as_tuple=True)
        place[row, earlier.index[row, column]] = column
        index = torch.where(self.index >= 0, place.gather(1, self.index.clamp_min(0)), -1)
        return Columns(index, self.full, earlier.index.shape[1])

    @property
    def valid(self) -> Tensor:
        """(B, M) bool."""
        return self.index >= 0

    def gather(self, values: Tensor, dim: int = 1) -> Tensor:
        """Values of the columns left; ``values`` has the batch in the dimension before ``dim``, or a batch of 1."""
        index = self.index.clamp_min(0)
        batch = dim - 1
        if values.shape[batch] == 1 and index.shape[0] > 1:
            values = values.expand(*values.shape[:batch], index.shape[0], *values.shape[dim:])
        shape = [1] * values.dim()
        shape[batch], shape[dim] = index.shape
        target = list(values.shape)
        target[dim] = index.shape[1]
        return values.gather(dim, index.view(shape).expand(target))

    def positions(self, positions: Tensor) -> Tensor:
        """Position ids (..., B, L) -> (..., B, M)."""
        return self.gather(positions, positions.dim() - 1)

    def mask(self, mask: Tensor | None, length: int, additions: int, flash: bool, dtype: torch.dtype) -> Tensor | None:
        """Attention mask of a layer that holds these columns.

        Args:
            mask: the mask made for the earlier sequence: (B, 1, Q, K) bool or additive, (B, K), or None (causal).
            length: queries of this call in this layer.
            additions: keys after the columns (tokens decoded since), 0 in prefill.
            flash: whether the attention takes 2-D masks only.
            dtype: of the layer's hidden states.

        Returns:
            The mask in the same form; None where the model's own causal mask is right.
        """
        device = self.index.device
        valid = torch.cat([self.valid, torch.ones(len(self.index), additions, dtype=torch.bool, device=device)], 1)
        if mask is None:
            if self.full and (additions == 0 or length == 1):
                return None
            if flash:
                return valid.long()
            keys = valid.shape[1]
            column = torch.arange(keys, device=device)
            query = torch.arange(keys - length, keys, device=device)
            seen = (column[None] <= query[:, None])[None] & valid[:, None]
            # A padded query sees itself: a row that sees nothing is undefined in some kernels.
            seen |= (column[None] == query[:, None])[None]
            return seen[:, None]
        later = torch.arange(self.size, self.size + additions, device=device).expand(len(self.index), -1)
        keys_index = torch.cat([self.index, later], 1)
        if mask.dim() == 2:
            picked = mask.gather(1, keys_index.clamp_min(0))
            return picked * valid.to(picked.dtype)
        if mask.dim() != 4:
            raise InputsError(f"attention mask of {mask.dim()} dimensions; 2, 4 or none are supported")
        b = len(self.index)
        mask = mask.expand(b, *mask.shape[1:])
        if additions == 0:
            mask = _rows(mask, self.index)
        index = keys_index.clamp_min(0)[:, None, None, :].expand(b, mask.shape[1], mask.shape[2], -1)
        out = mask.gather(3, index)
        hidden = ~valid[:, None, None, :].expand_as(out)
        if additions == 0:
            eye = torch.eye(out.shape[2], out.shape[3], dtype=torch.bool, device=device)
            pad = ~self.valid[:, None, :, None] & eye
        else:
            pad = torch.zeros_like(hidden)
        if out.dtype == torch.bool:
            return (out & ~hidden) | pad
        out = out.masked_fill(hidden, torch.finfo(out.dtype).min)
        return out.masked_fill(pad, 0.0)


def leading_padding(valid: Tensor) -> Tensor:
    """(B, L) bool: padding before each row's first valid token; it goes when a row loses columns."""
    return valid.long().cumsum(1) == 0


def _rows(mask: Tensor, index: Tensor) -> Tensor:
    at = index.clamp_min(0)[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3])
    return mask.gather(2, at)


def cache_length(cache: Any, layer: int = 0) -> int:
    """Tokens a cache holds for a layer; 0 without a cache.

    Raises:
        InputsError: the cache has a fixed size, in which layers cannot differ in length.
    """
    if cache is None:
        return 0
    if getattr(cache, "is_compileable", False):
        raise InputsError(
            "past_key_values: a static cache cannot hold layers of different lengths; use a dynamic cache"
        )
    return int(cache.get_seq_length(layer))
