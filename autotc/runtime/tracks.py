"""What became of each item's tokens: one `Track` per modality and request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autotc.mechanisms import Reduction, Tokens
from autotc.models import Item, column_index


@dataclass
class Track:
    """Items of one modality in one request, right-aligned to the longest, and the reductions they went through.

    What says where a token stands is on the host, so that shapes and columns are known without asking a device; what
    mechanisms read is on the device of the features.

    Attributes:
        items: their geometry.
        lengths: tokens that each item has left.
        ids: (B, N) long on the host, output unit whose position each token holds, in the language model's order; -1
            pads.
        valid: (B, N) bool.
        grid, box, mass: as in `Tokens`.
        row: (B,) long on the host, batch row of each item; set at the language model's entry.
        column: (B, N) long on the host, column of each token in the current sequence; -1 pads.
        reductions: what was applied, in order.
        joints: (2, B, N) float, of the tokens that have reached the language model: when each begins, and its cosine to
            the one before; None where no stage asks for it.
        levels: number of a stage whose budget follows the item -> level of each item, once it is known.
    """

    items: Sequence[Item]
    lengths: list[int]
    ids: Tensor
    valid: Tensor
    grid: Tensor
    box: Tensor
    mass: Tensor
    row: Tensor | None = None
    column: Tensor | None = None
    reductions: list[Reduction] = field(default_factory=list)
    joints: Tensor | None = None
    levels: dict[int, list[float]] = field(default_factory=dict)

    @property
    def batch_row(self) -> Tensor:
        """``row``, once the track has reached the language model."""
        assert self.row is not None
        return self.row

    @property
    def batch_column(self) -> Tensor:
        """``column``, once the track has reached the language model."""
        assert self.column is not None
        return self.column

    @property
    def host_valid(self) -> Tensor:
        """``valid`` on the host."""
        return self.ids >= 0

    @classmethod
    def start(cls, items: Sequence[Item], device: torch.device) -> Track:
        """All units of all items."""
        lengths = [item.count for item in items]
        index, valid = column_index(lengths)
        places = torch.cat([item.places() for item in items])
        boxes = torch.cat([item.boxes() for item in items])
        ids = torch.cat([torch.arange(count) for count in lengths])
        return cls(
            items=items,
            lengths=lengths,
            ids=torch.where(valid, ids[index], -1),
            valid=valid.to(device),
            grid=(places[index] * valid[..., None]).to(device),
            box=(boxes[index] * valid[..., None]).to(device),
            mass=valid.float().to(device),
        )

    def repeated(self, order: Sequence[int]) -> Track:
        """The track with its items in ``order``: rows that a beam search repeats."""
        index = torch.tensor(list(order))
        on_device = index.to(self.valid.device)
        return Track(
            [self.items[i] for i in order],
            [self.lengths[i] for i in order],
            self.ids[index],
            self.valid[on_device],
            self.grid[on_device],
            self.box[on_device],
            self.mass[on_device],
            reductions=[reduction.rows(order) for reduction in self.reductions],
        )

    def tokens(self, features: Tensor) -> Tokens:
        """The items as mechanisms see them, with features (B, N, D)."""
        return Tokens(features, self.valid, self.grid, self.box, self.mass)

    def move_to(self, device: torch.device) -> None:
        """Bring what mechanisms read to a device (models that are spread over several)."""
        self.valid, self.grid = self.valid.to(device), self.grid.to(device)
        self.box, self.mass = self.box.to(device), self.mass.to(device)

    def advance(self, reduction: Reduction, tokens: Tokens) -> Tokens:
        """Replace the tokens by their survivors; returns them."""
        reduced = reduction.reduce(tokens)
        kept = reduction.kept
        survives, at = kept >= 0, kept.clamp_min(0)
        self.valid, self.grid, self.box, self.mass = reduced.valid, reduced.grid, reduced.box, reduced.mass
        self.lengths = reduction.counts
        self.ids = torch.where(survives, self.ids.gather(1, at), -1)
        if self.column is not None:
            self.column = torch.where(survives, self.column.gather(1, at), -1)
        self.reductions.append(reduction)
        return reduced

    def flat(self, length: int) -> Tensor:
        """(tokens left,) long on the host: places of the tokens in the flattened batch of sequences of a length."""
        return (self.batch_row[:, None] * length + self.batch_column)[self.host_valid]

    def features(self, values: Tensor) -> Tensor:
        """(B, N, D) of the tokens, from the sequences' (rows, L, D); zeros on padding."""
        index = self.batch_row[:, None] * values.shape[1] + self.batch_column.clamp_min(0)
        flat = values.reshape(-1, values.shape[-1])
        out = flat.index_select(0, index.view(-1).to(values.device, non_blocking=True)).view(*index.shape, -1)
        return out.masked_fill(~self.valid[..., None], 0.0)

    def put_survivors(self, values: Tensor, features: Tensor, reduction: Reduction) -> Tensor:
        """The sequences (rows, L, D) with what a reduction made of the tokens' (B, N, D) at its survivors' columns.

        The track has been advanced by the reduction; columns of tokens that have gone keep what they held.
        """
        if reduction.is_selection:
            return values
        out = values.clone(memory_format=torch.contiguous_format)
        survivors = reduction.apply(features).reshape(-1, values.shape[-1])
        real = self.host_valid.view(-1).nonzero()[:, 0].to(values.device, non_blocking=True)
        places = self.flat(values.shape[1]).to(values.device, non_blocking=True)
        out.view(-1, out.shape[-1]).index_copy_(0, places, survivors[real].to(values.dtype))
        return out

    def note_joints(self, values: Tensor) -> None:
        """Note how alike neighbours are, in the sequences' (rows, L, D) as they are; sets ``joints``."""
        unit = torch.nn.functional.normalize(self.features(values).float(), dim=-1, eps=1e-6)
        cosine = torch.full(self.valid.shape, torch.inf, device=unit.device)
        cosine[:, 1:] = (unit[:, 1:] * unit[:, :-1]).sum(2).masked_fill(~self.valid[:, :-1], torch.inf)
        self.joints = torch.stack([self.box[..., 0].masked_fill(~self.valid, torch.inf), cosine])

    def source(self) -> Reduction:
        """From the item's units to its tokens of now: the product of all reductions."""
        _index, valid = column_index([item.count for item in self.items])
        out = Reduction.identity(valid.to(self.valid.device))
        for reduction in self.reductions:
            out = out.then(reduction)
        return out


def concurrent_retention(track: Track, companion: Track | None) -> Tensor:
    """Share kept of the companion modality's tokens that overlap each token in time, (B, N) float.

    Items are paired when they stand in the same row of the batch; 1 where no token of the companion overlaps.
    """
    device = track.valid.device
    out = torch.ones(track.valid.shape, device=device)
    if companion is None:
        return out
    for i in range(len(track.items)):
        spans, kept = [], []
        for j in (companion.batch_row == track.batch_row[i]).nonzero()[:, 0].tolist():
            spans.append(companion.items[j].boxes()[:, :2].to(device))
            alive = torch.zeros(companion.items[j].count)
            alive[companion.ids[j][companion.host_valid[j]]] = 1.0
            kept.append(alive.to(device))
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


def concurrent_cosine(track: Track, companion: Track | None) -> Tensor:
    """Lowest cosine between neighbours of the companion modality that join within each token's time, (B, N) float.

    Items are paired as in `concurrent_retention`; 1 where no two tokens join.
    """
    out = torch.ones(track.valid.shape, device=track.valid.device)
    if companion is None or companion.joints is None:
        return out
    for i in range(len(track.items)):
        rows = (companion.batch_row == track.batch_row[i]).nonzero()[:, 0].to(out.device)
        start, cosine = companion.joints.to(out.device)[:, rows].flatten(1)
        # Tokens of one frame have one time.
        spans, at = torch.unique(track.box[i, :, :2], dim=0, return_inverse=True)
        within = (start >= spans[:, :1] - 1e-6) & (start < spans[:, 1:] - 1e-6)
        if within.shape[1]:
            out[i] = torch.where(within, cosine, torch.inf).amin(1).clamp_max(1.0)[at]
    return out
