"""What became of each item's tokens: one `Track` per modality and request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autotc.errors import MechanismError
from autotc.mechanisms import Reduction, Tokens, target_count
from autotc.models import Item, column_index


@dataclass
class StageStats:
    """What one reduction did in one request.

    Attributes:
        stage: index of the stage in the policy.
        layer: of the reduction; None at input and projector.
        label: modality, location, layer and mechanism.
        requested: keep ratio x N0 of each item, rounded.
        realised: tokens each item has left.
        untouched: items that already had no more tokens than requested.
    """

    stage: int
    layer: int | None
    label: str
    requested: list[int]
    realised: list[int]
    untouched: int


@dataclass
class Track:
    """Items of one modality in one request, right-aligned to the longest, and the reductions they went through.

    Attributes:
        items: their geometry.
        valid: (B, N) bool.
        ids: (B, N) long, output unit whose position each token holds, in the language model's order.
        grid, box, mass: as in `Tokens`.
        row: (B,) long, batch row of each item; set at the language model's entry.
        column: (B, N) long, column of each token in the current sequence.
        reductions: what was applied, in order.
    """

    items: Sequence[Item]
    valid: Tensor
    ids: Tensor
    grid: Tensor
    box: Tensor
    mass: Tensor
    row: Tensor | None = None
    column: Tensor | None = None
    reductions: list[Reduction] = field(default_factory=list)

    @property
    def batch_row(self) -> Tensor:
        """``row``, once the track has reached the language model."""
        assert self.row is not None
        return self.row

    @property
    def place(self) -> Tensor:
        """``column``, -1 on padding, once the track has reached the language model."""
        assert self.column is not None
        return self.column

    @classmethod
    def start(cls, items: Sequence[Item], device: torch.device) -> Track:
        """All units of all items."""
        index, valid = column_index([item.count for item in items], device)
        places = torch.cat([item.places() for item in items]).to(device)
        boxes = torch.cat([item.boxes() for item in items]).to(device)
        ids = torch.cat([torch.arange(item.count) for item in items]).to(device)
        return cls(
            items=items,
            valid=valid,
            ids=torch.where(valid, ids[index], -1),
            grid=places[index] * valid[..., None],
            box=boxes[index] * valid[..., None],
            mass=valid.float(),
        )

    def tokens(self, features: Tensor) -> Tokens:
        """The items as mechanisms see them, with features (B, N, D)."""
        return Tokens(features, self.valid, self.grid, self.box, self.mass)

    def budget(self, keep_ratio: float) -> tuple[list[int], list[int]]:
        """Tokens each item should keep, and has."""
        left = self.valid.sum(1).tolist()
        pairs = zip(self.items, left, strict=True)
        return [target_count(keep_ratio, item.n0, have) for item, have in pairs], left

    def advance(self, reduction: Reduction, tokens: Tokens) -> Tokens:
        """Replace the tokens by their survivors; returns them."""
        reduced = reduction.reduce(tokens)
        at = reduction.keep.clamp_min(0)
        self.valid, self.grid, self.box, self.mass = reduced.valid, reduced.grid, reduced.box, reduced.mass
        self.ids = torch.where(self.valid, self.ids.gather(1, at), -1)
        if self.column is not None:
            self.column = torch.where(self.valid, self.column.gather(1, at), -1)
        self.reductions.append(reduction)
        return reduced

    def source(self) -> Reduction:
        """From the item's units to its tokens of now: the product of all reductions."""
        _index, valid = column_index([item.count for item in self.items], self.valid.device)
        out = Reduction.identity(valid)
        for reduction in self.reductions:
            out = out.then(reduction)
        return out


def concurrent_retention(track: Track, companion: Track | None) -> Tensor:
    """Share kept of the companion modality's tokens that overlap each token in time, (B, N) float.

    Items are paired when they stand in the same row of the batch; 1 where no token of the companion overlaps.
    """
    out = torch.ones(track.valid.shape, device=track.valid.device)
    if companion is None:
        return out
    for i in range(len(track.items)):
        spans, kept = [], []
        for j in (companion.batch_row == track.batch_row[i]).nonzero()[:, 0].tolist():
            spans.append(companion.items[j].boxes()[:, :2].to(out.device))
            alive = torch.zeros(companion.items[j].count, device=out.device)
            alive[companion.ids[j][companion.valid[j]]] = 1.0
            kept.append(alive)
        if not spans:
            continue
        start, end = torch.cat(spans).unbind(1)
        alive = torch.cat(kept)
        # Tokens of the companion that begin before a token ends, less those that end before it begins.
        begins, ends = start.argsort(), end.argsort()
        low, high = track.box[i, :, 0].contiguous(), track.box[i, :, 1].contiguous()
        first = torch.searchsorted(end[ends], low + 1e-6)
        last = torch.searchsorted(start[begins], high - 1e-6)
        until = torch.cat([alive.new_zeros(1), alive[begins].cumsum(0)])
        before = torch.cat([alive.new_zeros(1), alive[ends].cumsum(0)])
        overlapping = last - first
        share = (until[last] - before[first]) / overlapping.clamp_min(1)
        out[i] = torch.where(overlapping > 0, share, out[i])
    return out


def check_reduction(name: str, reduction: Reduction, budget: Tensor, adaptive: bool = False) -> Reduction:
    """Hold a mechanism to its contract.

    Args:
        name: of the mechanism.
        reduction, budget: what it returned for what.
        adaptive: whether it may keep fewer.

    Raises:
        MechanismError: naming the mechanism and what it broke.
    """
    if adaptive:
        if bool(((reduction.count < 1) | (reduction.count > budget)).any()):
            raise MechanismError(f"{name}: kept {reduction.count.tolist()} tokens, 1 to {budget.tolist()} are allowed")
    elif not torch.equal(reduction.count, budget):
        raise MechanismError(f"{name}: kept {reduction.count.tolist()} tokens, {budget.tolist()} were asked for")
    if not bool(torch.isfinite(reduction.weight).all()):
        raise MechanismError(f"{name}: returned weights that are not finite")
    return reduction
