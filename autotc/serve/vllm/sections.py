"""An item's stretch of a prompt: its tokens as they are without a policy, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autotc.errors import InputsError
from autotc.models import Item

CHANNELS = 6
"""Channels behind a reduced row: its position on three axes, each as two digits, which half precision holds exactly."""
_BASE = 256


@dataclass(frozen=True)
class Section:
    """An item's stretch of the uncompressed prompt.

    Attributes:
        item: its geometry.
        ids: (L,) long, its tokens.
        placeholder: id that stands for its features.
    """

    item: Item
    ids: Tensor
    placeholder: int

    @cached_property
    def embedded(self) -> Tensor:
        """(R,) long: which tokens the model has features for: units, and newlines between them."""
        places = (self.ids == self.placeholder).nonzero()[:, 0]
        if len(places) != self.item.slots:
            raise InputsError(
                f"{self.item.modality}: the engine has {len(places)} placeholders for an item of"
                f" {self.item.grid[0]} x {self.item.grid[1]} x {self.item.grid[2]} tokens; {self.item.slots} are right"
            )
        return places

    @cached_property
    def units(self) -> Tensor:
        """(N,) long: which tokens hold the item's units."""
        return self.embedded[self.item.offsets()]

    @cached_property
    def structure(self) -> Tensor:
        """(L - N,) long: the others, which stay: newlines, time stamps and marks."""
        held = torch.zeros(len(self.ids), dtype=torch.bool)
        held[self.units] = True
        return (~held).nonzero()[:, 0]

    def length(self, left: int) -> int:
        """Tokens of the stretch once so many units are left."""
        return len(self.ids) - self.item.count + left


def with_positions(rows: Tensor, positions: Tensor) -> Tensor:
    """Rows (M, W) with their positions behind them, (M, W + `CHANNELS`).

    Args:
        rows: embeddings.
        positions: (3, M) long on the host, relative to the first of the stretch, each below 65,536.
    """
    if int(positions.max()) >= _BASE**2:
        raise InputsError(f"an item spans {int(positions.max()) + 1:,} positions; at most {_BASE**2:,} can be served")
    digits = torch.cat([positions // _BASE, positions % _BASE]).T
    return torch.cat([rows, digits.to(rows.device, rows.dtype, non_blocking=True)], 1)


def take_positions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """What `with_positions` joined: rows (M, W) and their relative positions (3, M) long."""
    digits = rows[:, -CHANNELS:].round().long().T
    return rows[:, :-CHANNELS], digits[:3] * _BASE + digits[3:]
