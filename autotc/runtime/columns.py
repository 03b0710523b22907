"""Sequences that lost columns: which are left row by row, and taking values at them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from autotc.errors import InputsError


@dataclass
class Columns:
    """Which columns of an earlier sequence are left, row by row. Worked out on the host.

    Attributes:
        index: (B, M) long, ascending but for -1, which pads: on the left, and between the turns of a conversation.
        size: length of the earlier sequence.
    """

    index: Tensor
    size: int
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Tensor) -> Columns:
        """From a mask (B, L) bool of the columns left."""
        count = kept.sum(1)
        width = int(count.max())
        column = kept.cumsum(1) - 1 + (width - count)[:, None]
        index = torch.full((kept.shape[0], width), -1, dtype=torch.long)
        row, source = kept.nonzero(as_tuple=True)
        index[row, column[row, source]] = source
        return cls(index, kept.shape[1])

    def then(self, later: Columns) -> Columns:
        """Columns of ``later``, which counts in this one's columns, counted in this one's earlier sequence."""
        index = torch.where(later.index >= 0, self.index.gather(1, later.index.clamp_min(0)), -1)
        return Columns(index, self.size)

    @classmethod
    def all(cls, rows: int, size: int) -> Columns:
        """Every column of ``rows`` sequences."""
        return cls(torch.arange(size).expand(rows, -1), size)

    def joined(self, later: Columns) -> Columns:
        """Columns of this one's earlier sequence and of ``later``'s, which stands right behind it."""
        index = torch.where(later.index >= 0, later.index + self.size, -1)
        return Columns(torch.cat([self.index, index], 1), self.size + later.size)

    def extended(self, size: int) -> Columns:
        """These columns and all that have come behind them, up to a length."""
        return self if size == self.size else self.joined(Columns.all(len(self.index), size - self.size))

    def cut(self, size: int) -> Columns:
        """Those of the first ``size`` columns of the earlier sequence, where the others are every row's last.

        Raises:
            InputsError: rows have kept different numbers of the columns that go.
        """
        stays = (self.index >= 0) & (self.index < size)
        goes = self.index >= size
        at = torch.arange(self.index.shape[1])
        width = int(torch.where(stays, at + 1, 0).max()) if stays.numel() else 0
        if bool(goes[:, :width].any()):
            raise InputsError(
                "cache: it cannot be cropped to this length, since its rows keep different numbers of media tokens"
            )
        return Columns(self.index[:, :width], size)

    def rows(self, rows: Tensor) -> Columns:
        """Those of some rows (R,) long."""
        return Columns(self.index[rows], self.size)

    @property
    def valid(self) -> Tensor:
        """(B, M) bool."""
        return self.index >= 0

    @property
    def full(self) -> bool:
        """Whether no row is padded."""
        return bool(self.valid.all())

    def on(self, device: torch.device) -> Tensor:
        """``index`` on a device, 0 on padding."""
        if device not in self._on_device:
            self._on_device[device] = self.index.clamp_min(0).to(device, non_blocking=True)
        return self._on_device[device]

    def gather(self, values: Tensor, dim: int = 1) -> Tensor:
        """Values of the columns left; ``values`` has the batch in the dimension before ``dim``, or a batch of 1."""
        index = self.on(values.device)
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


def leading_padding(valid: Tensor) -> Tensor:
    """(B, L) bool: padding before each row's first valid token; it goes when a row loses columns."""
    return valid.long().cumsum(1) == 0


def query_columns(query: Tensor) -> Tensor:
    """Columns (B, T) of the query span (B, L), right-aligned, -1 on padding, T at least 1; on the host."""
    index = Columns.of(query).index
    return index if index.shape[1] else index.new_full((index.shape[0], 1), -1)


def gather_columns(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values (B, L, D) at columns (I, R) of batch rows (I,): (I, R, D), zeros where a column is -1."""
    return values[rows[:, None], columns.clamp_min(0)].masked_fill((columns < 0)[..., None], 0.0)
