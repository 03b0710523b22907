"""A tower while it runs: which of its rows are left, and how a block is called on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autotc.mechanisms import TOWER_SCORES, Modality, Reduction, Score
from autotc.models import Adapter, Item, Projections
from autotc.runtime.ledger import Track
from autotc.runtime.scores import class_attention, received_attention


class TowerRun:
    """One pass of a modality's items through its tower.

    Rows are counted in the tower's own order, tile by tile where the tower takes a batch of tiles (T, L, D), else in
    one packed sequence (S, D). Inside, what is left of them stands packed: (rows left, D).

    Args:
        adapter, config: of the model.
        modality, items: what is encoded.
        hidden: what the first block gets.
    """

    def __init__(
        self, adapter: Adapter, config: Any, modality: Modality, items: Sequence[Item], hidden: Tensor
    ) -> None:
        device = hidden.device
        self.track = Track.start(items, device)
        self.tiles: tuple[int, int] | None = (hidden.shape[0], hidden.shape[1]) if hidden.dim() == 3 else None
        total = hidden.numel() // hidden.shape[-1]
        self.kept = torch.ones(total, dtype=torch.bool, device=device)
        self.rows = adapter.unit_rows(config, modality, items).to(device)
        class_rows = adapter.class_rows(config, modality, items)
        self._class_rows = None if class_rows is None else class_rows.to(device)
        self.before: dict[int, Tensor] = {}
        self.scores: dict[tuple[int, Score], tuple[Tensor, Tensor]] = {}
        self._adapter = adapter
        self._bounds: Tensor | None = None
        self._position_embeddings: Any = None
        self._query: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether no row has left."""
        return bool(self.kept.all())

    def _there(self) -> Tensor:
        """(T, L') bool: real rows of a batch of tiles, first the rows and then the padding."""
        assert self.tiles is not None
        count = self.kept.view(self.tiles).sum(1)
        return torch.arange(int(count.max()), device=count.device) < count[:, None]

    def packed(self, hidden: Tensor) -> Tensor:
        """Rows left (S', D), of what a block takes or gives."""
        return hidden if self.tiles is None else hidden[self._there()]

    def batched(self, rows: Tensor) -> Tensor:
        """The rows left as a block takes them; padding is zero."""
        if self.tiles is None:
            return rows
        there = self._there()
        out = rows.new_zeros(*there.shape, rows.shape[1])
        out[there] = rows
        return out

    def with_holes(self, rows: Tensor) -> Tensor:
        """The rows left in the tower's original layout, NaN where rows have left."""
        out = rows.new_full((len(self.kept), rows.shape[1]), float("nan"))
        out[self.kept] = rows
        return out if self.tiles is None else out.view(*self.tiles, -1)

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], flash: bool
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A block's further arguments on the rows left, from those it was called with.

        Args:
            args: without the hidden states.
            kwargs: by name.
            flash: whether the tower's attention takes 2-D masks only.
        """
        changed = dict(kwargs)
        if self.tiles is None:
            bounds = kwargs["cu_seqlens"]
            if not self.whole:
                running = torch.cat([self.kept.new_zeros(1, dtype=torch.long), self.kept.cumsum(0)])
                bounds = torch.unique_consecutive(running[bounds.long()]).to(bounds.dtype)
                changed["cu_seqlens"] = bounds
                if kwargs.get("max_seqlen") is not None:
                    changed["max_seqlen"] = int((bounds[1:] - bounds[:-1]).max())
                if kwargs.get("position_embeddings") is not None:
                    changed["position_embeddings"] = tuple(p[self.kept] for p in kwargs["position_embeddings"])
            self._bounds, self._position_embeddings = bounds, changed.get("position_embeddings")
            return args, changed
        count = self.kept.view(self.tiles).sum(1)
        self._bounds = torch.cat([count.new_zeros(1), count.cumsum(0)])
        there = self._there()
        if bool(there.all()):
            return args, changed
        mask: Tensor = there.long()
        if not flash:
            dtype = next((a.dtype for a in args if isinstance(a, Tensor) and a.is_floating_point()), torch.float32)
            mask = torch.zeros(there.shape, dtype=dtype, device=there.device)
            mask = mask.masked_fill(~there, torch.finfo(dtype).min)[:, None, None].expand(-1, 1, there.shape[1], -1)
        if "attention_mask" in changed or not args:
            return args, changed | {"attention_mask": mask}
        return (mask, *args[1:]), changed

    def capture(self, block: int, part: str, projected: Tensor, projections: Projections, wanted: set[Score]) -> None:
        """Take a block's queries, then its keys, as projected; with the keys its scores are computed."""
        rows = self.packed(projected)
        width = rows.shape[1] // 3 if projections.fused else rows.shape[1]
        offset = width if projections.fused and part == "key" else 0
        heads = rows[:, offset : offset + width].reshape(len(rows), projections.heads, -1)
        if part == "query":
            self._query = heads
            return
        assert self._query is not None  # queries are projected before keys
        query, self._query = self._query, None
        if "keys" in wanted:
            self.scores[block, "keys"] = self.by_item(heads.mean(1)[self.rows].mean(1)), self.track.ids
        attention = wanted & (TOWER_SCORES - {"keys"})
        if not attention:
            return
        query, key = self._adapter.rotate_block(query, heads, self._position_embeddings)
        assert self._bounds is not None  # set before every block
        received = None
        for need in sorted(attention):
            if need == "cls_attention" and self._class_rows is not None:
                place = self.kept.cumsum(0) - 1
                scored = class_attention(
                    query[place[self._class_rows]], key, self._bounds, projections.scaling
                )  # fmt: skip
                values = self.by_item(scored[self.rows].sum(1))
                values = values / values.sum(1, keepdim=True).clamp_min(1e-12)
            else:
                if received is None:
                    received = received_attention(query, key, self._bounds, projections.scaling)
                # Shares of the item: segments of any length weigh by their length, and units sum to 1.
                values = self.by_item(received[self.rows].mean(1)) / self.track.valid.sum(1, keepdim=True)
            self.scores[block, need] = values, self.track.ids

    def by_item(self, values: Tensor) -> Tensor:
        """Values (units left, ...) in item order -> (B, N, ...)."""
        out = values.new_zeros(*self.track.valid.shape, *values.shape[1:])
        out[self.track.valid] = values
        return out

    def drop(self, reduction: Reduction, values: Tensor, rows: Tensor, valid: Tensor) -> Tensor:
        """Rows left after a reduction of the units, survivors in place.

        Args:
            reduction: of the track, already advanced by it.
            values: (B, N, unit, D) the units' rows.
            rows: (rows left, D) of the tower.
            valid: (B, N) bool before the reduction.
        """
        survivors = reduction.apply(values)[self.track.valid]
        kept_units = torch.zeros(valid.shape, dtype=torch.bool, device=rows.device)
        kept_units.scatter_(1, reduction.keep.clamp_min(0), self.track.valid)
        # Padding in ``keep`` points at column 0, which may be a real survivor of a full row.
        kept_units[:, 0] |= (reduction.keep == 0).any(1)
        flags = kept_units[valid]
        stay = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        stay[self.rows[~flags].reshape(-1)] = False
        rows = rows.clone()
        rows[self.rows[flags]] = survivors
        rows = rows[stay]
        place = stay.cumsum(0) - 1
        self.rows = place[self.rows[flags]]
        original = self.kept.nonzero()[:, 0]
        self.kept = self.kept.clone()
        self.kept[original[~stay]] = False
        return rows
