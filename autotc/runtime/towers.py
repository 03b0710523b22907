"""A tower while it runs: which of its rows are left, and how a block is called on them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig
from autotc.mechanisms import TOWER_SCORES, Reduction, Score, Tokens
from autotc.models import BoundAdapter, Item, Projections, column_index, spread
from autotc.runtime.columns import Columns
from autotc.runtime.scores import class_attention, received_attention
from autotc.runtime.steps import Step, Steps
from autotc.runtime.tower_scores import for_track
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality

_LENGTHS = ("cu_seqlens", "cu_seq_lens_q", "cu_seq_lens_k")
_LONGEST = ("max_seqlen", "max_length_q", "max_length_k")
"""Arguments of a block on one packed sequence: cumulative lengths of what sees itself, and the longest of them."""


class TowerRun:
    """One pass of a modality's items through its tower.

    Rows are counted in the tower's own order, tile by tile where the tower takes a batch of tiles (T, L, D), else in
    one packed sequence (S, D) or (1, S, D). Inside, what is left of them stands packed: (rows left, D). Where they
    stand is worked out on the host.

    Args:
        bound: of the model.
        modality, items: what is encoded.
        hidden: what the first block gets.
        steps: the policy's.

    Attributes:
        track: what is left of the items.
        tiles: (T, L) of a batch of tiles; None for one packed sequence.
        marked: whether rows that have left come back as NaN.
        scores: (block, score) -> its values (B, N) of the units that were left there, and which those were.
        expanded: block behind which the rows were all there -> reductions until then, and the units left.
    """

    def __init__(
        self, bound: BoundAdapter, modality: Modality, items: Sequence[Item], hidden: Tensor, steps: Steps
    ) -> None:
        self.modality, self.device = modality, hidden.device
        self.track = Track.start(items, hidden.device)
        tiled = bound.tower(modality).tiled
        self.tiles: tuple[int, int] | None = (hidden.shape[0], hidden.shape[1]) if tiled else None
        self.marked = True
        self.scores: dict[tuple[int, Score], tuple[Tensor, Tensor]] = {}
        self.expanded: dict[int, tuple[int, Tensor]] = {}
        self._bound, self._steps = bound, steps
        self._kept = torch.ones(hidden.numel() // hidden.shape[-1], dtype=torch.bool)
        self._rows = bound.unit_rows(modality, items)
        self._class_rows = bound.class_rows(modality, items)
        self._owner = torch.repeat_interleave(torch.tensor(self.track.lengths))
        self._tile = self._rows[:, 0] // self.tiles[1] if self.tiles is not None else self._owner
        self._columns: Columns | None = None
        self._before: dict[int, Tensor] = {}
        self._lengths: dict[int, tuple[Tensor, Tensor]] = {}
        self._bounds: dict[int, tuple[Tensor, list[int], Tensor]] = {}
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}
        self._tile_masks: dict[int, tuple[Tensor | None, Tensor | None, dict[str, object]]] = {}
        self._batched = hidden.dim() == 3 and not tiled
        self._items_edges = self._edges_of(items)
        self._edges: list[int] = []
        self._position_embeddings: Any = None
        self._visible: Tensor | None = None
        self._query: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether no row has left."""
        return bool(self._kept.all())

    def _on(self, host: Tensor) -> Tensor:
        return host.to(self.device, non_blocking=True)

    def _packed(self, hidden: Tensor) -> Tensor:
        """Rows left (S', D), of what a block takes or gives."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        if self._columns is None or self._columns.full:
            return flat
        return flat.index_select(0, self._on(self._columns.valid.view(-1).nonzero()[:, 0]))

    def _as_called(self, rows: Tensor) -> Tensor:
        """The rows left as a block takes them; padding is zero."""
        if self.tiles is None:
            return rows[None] if self._batched else rows
        if self._columns is None:
            return rows.view(*self.tiles, -1)
        shape = self._columns.index.shape
        if self._columns.full:
            return rows.view(*shape, -1)
        out = rows.new_zeros(shape.numel(), rows.shape[1])
        out.index_copy_(0, self._on(self._columns.valid.view(-1).nonzero()[:, 0]), rows)
        return out.view(*shape, -1)

    def before(self, index: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A block's arguments on the rows left, after the stages behind the block before it."""
        if index - 1 in self.expanded and not self.whole:
            rows = args[0].reshape(-1, args[0].shape[-1]).index_select(0, self._on(self._kept.nonzero()[:, 0]))
        else:
            rows = self._packed(args[0])
        if index == 0 and any(
            "patch_embeddings" in s.mechanism.needs for s in self._steps.at("encoder", self.modality)
        ):
            self.scores[0, "patch_embeddings"] = self._by_item(rows[self._on(self._rows)].flatten(1)), self.track.ids
        for step in self._steps.at("encoder", self.modality, index - 1):
            rows = self._reduce(step, rows)
        self._before = {index: rows}
        names = list(inspect.signature(block.forward).parameters)
        changed = dict(zip(names[1:], args[1:], strict=False)) | kwargs
        self.watch(changed)
        return (self._as_called(rows),), changed

    def watch(self, kwargs: dict[str, object]) -> None:
        """Note which rows attend to each other in the block that runs next, and where they stand.

        Args:
            kwargs: its arguments, brought to the rows left; of a packed sequence ``cu_seqlens``, and
                ``position_embeddings`` where there are any.
        """
        if self.tiles is None:
            self._call_packed(kwargs)
        else:
            self._edges = [0, *self._real_rows().sum(1).cumsum(0).tolist()]

    def _real_rows(self) -> Tensor:
        """(T, L') bool on the host: real rows of the batch of tiles."""
        assert self.tiles is not None
        return torch.ones(self.tiles, dtype=torch.bool) if self._columns is None else self._columns.valid

    def _edges_of(self, items: Sequence[Item]) -> Tensor:
        """Cumulative rows of the items, from 0: where they end in one packed sequence."""
        rows, unit = [0], self._bound.tower(self.modality).unit
        for item in items:
            segments, spare = self._bound.segments(item, 0), self._bound.spare_rows(item, 0)
            rows.append(sum(len(part) * unit + more for part, more in zip(segments, spare, strict=True)))
        return torch.tensor(rows).cumsum(0)

    def _call_packed(self, kwargs: dict[str, Any]) -> None:
        """Bring cumulative lengths, or a mask that stands for them, and position embeddings to the rows left."""
        given = [name for name in _LENGTHS if kwargs.get(name) is not None]
        cu_seqlens: Tensor = kwargs[given[0]] if given else self._items_edges
        if id(cu_seqlens) not in self._bounds:
            running = torch.cat([torch.zeros(1, dtype=torch.long), self._kept.cumsum(0)])
            if id(cu_seqlens) not in self._lengths:  # read once, however often rows leave
                self._lengths[id(cu_seqlens)] = cu_seqlens, cu_seqlens.cpu().long()
            host = torch.unique_consecutive(running[self._lengths[id(cu_seqlens)][1]])
            self._bounds[id(cu_seqlens)] = cu_seqlens, host.tolist(), host.to(cu_seqlens)
        _, self._edges, bounds = self._bounds[id(cu_seqlens)]
        if not self.whole:
            longest = max(b - a for a, b in zip(self._edges, self._edges[1:], strict=False))
            kwargs |= dict.fromkeys(given, bounds)
            kwargs |= {name: longest for name in _LONGEST if kwargs.get(name) is not None}
            if isinstance(kwargs.get("attention_mask"), Tensor):
                kwargs["attention_mask"] = self._mask_left(kwargs["attention_mask"])
            if kwargs.get("position_embeddings") is not None:
                kept = self._on(self._kept.nonzero()[:, 0])
                kwargs["position_embeddings"] = tuple(p[kept] for p in kwargs["position_embeddings"])
        self._position_embeddings = kwargs.get("position_embeddings")

    def _mask_left(self, mask: Tensor) -> Tensor:
        """A mask (1, 1, S, S) of the rows left; blocks that share one share the result."""
        if id(mask) not in self._masks:
            kept = self._on(self._kept.nonzero()[:, 0])
            self._masks[id(mask)] = mask, mask.index_select(2, kept).index_select(3, kept)
        return self._masks[id(mask)][1]

    def attention(self, kwargs: dict[str, Any], hidden: Tensor, attention: nn.Module) -> dict[str, Any]:
        """Arguments of a tiled block's attention: the mask of the rows left, also where the block passes none on.

        Raises:
            InputsError: the tower's own mask is in a form that cannot be read.
        """
        mask = kwargs.get("attention_mask")
        if mask is not None and not isinstance(mask, Tensor):
            raise InputsError(f"attn_implementation: masks of {type(mask).__name__} in the tower; use sdpa or eager")
        if id(mask) not in self._tile_masks:
            self._tile_masks[id(mask)] = mask, *self._tile_mask(mask, hidden, attention)
        _, self._visible, changed = self._tile_masks[id(mask)]
        return kwargs | changed

    def _tile_mask(
        self, mask: Tensor | None, hidden: Tensor, attention: nn.Module
    ) -> tuple[Tensor | None, dict[str, object]]:
        """Which of the rows left are seen, and arguments to change; blocks that share a mask share both."""
        visible: Tensor | None = None
        if mask is not None:
            visible = mask if mask.dim() == 2 else mask[:, 0, -1]
            visible = visible >= 0 if visible.is_floating_point() else visible.bool()
            if self._columns is not None:
                visible = self._columns.gather(visible) & self._on(self._columns.valid)
        elif self._columns is not None and not self._columns.full:
            visible = self._on(self._columns.valid)
        flat = None if visible is None else visible.reshape(-1)
        if flat is not None and self._columns is not None and not self._columns.full:
            flat = flat.index_select(0, self._on(self._columns.valid.view(-1).nonzero()[:, 0]))
        if self._columns is None or visible is None:
            return flat, {}
        config: PreTrainedConfig = attention.config
        return flat, {"attention_mask": create_bidirectional_mask(config, hidden, visible)}

    def after(self, index: int, output: Any) -> Any:
        """A block's output at a point where the rows return to their original number; None to leave it."""
        hidden = output[0] if isinstance(output, tuple) else output
        rows = self._packed(hidden)
        last = index == self._bound.depths.encoder[self.modality] - 1
        if last:
            for step in self._steps.at("encoder", self.modality, index):
                rows = self._reduce(step, rows)
            self._before.clear()
        self.expanded[index] = len(self.track.reductions), self.track.ids
        if self.whole:
            return None
        # NaN cannot go unnoticed, but would make the projector's gradients NaN: in training zeros take its place.
        self.marked = not torch.is_grad_enabled()
        out = rows.new_full((len(self._kept), rows.shape[1]), float("nan") if self.marked else 0.0)
        out.index_copy_(0, self._on(self._kept.nonzero()[:, 0]), rows)
        restored = out.view(hidden.shape[0], -1, out.shape[1]) if hidden.dim() == 3 else out
        return (restored, *output[1:]) if isinstance(output, tuple) else restored

    def capture(self, block: int, part: str, projected: Tensor, projections: Projections, wanted: set[Score]) -> None:
        """Take a block's queries, then its keys, as projected; with the keys its scores are computed."""
        rows = self._packed(projected)
        if projections.fused:
            rows = rows.chunk(3, 1)[1 if part == "key" else 0]
        heads = projections.split(rows, "query" if part == "query" else "key")
        if part == "query":
            self._query = heads
            return
        assert self._query is not None  # queries are projected before keys
        query, self._query = self._query, None
        units = self._on(self._rows)
        if "keys" in wanted:
            self.scores[block, "keys"] = self._by_item(heads.mean(1)[units].mean(1)), self.track.ids
        attention = wanted & (TOWER_SCORES - {"keys"})
        if not attention:
            return
        query, key = self._bound.adapter.rotate_block(query, heads, self._position_embeddings)
        received = None
        for need in sorted(attention):
            if need == "cls_attention" and self._class_rows is not None:
                place = self._kept.cumsum(0) - 1
                classes = query[self._on(place[self._class_rows])]
                scored = class_attention(classes, key, self._edges, projections.scaling)
                values = self._by_item(scored[units].sum(1))
                values = values / values.sum(1, keepdim=True).clamp_min(1e-12)
            else:
                if received is None:
                    received = received_attention(query, key, self._edges, projections.scaling, self._visible)
                # Shares of the item: segments of any length weigh by their length, and units sum to 1.
                values = self._by_item(received[units].mean(1)) / self.track.valid.sum(1, keepdim=True)
            self.scores[block, need] = values, self.track.ids

    def scored(self, block: int, need: Score, track: Track) -> Tensor:
        """A block's score for the tokens left in a track that went on from this tower's, or from repeats of it.

        Raises:
            InputsError: the block's projections ran without the hooks that read them, as they were compiled.
        """
        if (block, need) not in self.scores:
            raise InputsError(
                f"{need}: block {block} of the tower runs as it was compiled, where queries and keys cannot be read;"
                " apply the policy to a model that is not compiled, or compile its language model alone"
            )
        values, ids = self.scores[block, need]
        return for_track(values, ids, track)

    def left_behind(self, block: int) -> tuple[int, Tensor]:
        """Reductions until behind a block whose rows were all there, and the units (B, N) left then."""
        return self.expanded[block]

    def _by_item(self, values: Tensor) -> Tensor:
        """Values (units left, ...) in item order -> (B, N, ...)."""
        out = values.new_zeros(self.track.ids.numel(), *values.shape[1:])
        out.index_copy_(0, self._on(self.track.host_valid.view(-1).nonzero()[:, 0]), values)
        return out.view(*self.track.ids.shape, *values.shape[1:])

    # --- reducing ---

    def _reduce(self, step: Step, rows: Tensor) -> Tensor:
        """Remove units: survivors take their sources' weighted sum, row by row."""
        seen = None
        if self._steps.unrated(self.track, step):
            seen = self._look(step, rows)
            self._steps.rate(self.track, step, self.track.tokens(seen[0].mean(2)), seen[1])
        targets = self._steps.budget(self.track, step)
        if targets is None:
            return rows
        values, scores = self._look(step, rows) if seen is None else seen
        with self._steps.scoring(tower=True):
            tokens = self.track.tokens(values.mean(2))
            if len(torch.unique(self._tile)) > len(self.track.items):
                reduction = self._run_by_tile(step, targets, values, scores)
            else:
                reduction = self._steps.run(step, tokens, targets, scores)
        self._steps.done(step, tokens, scores, reduction)
        before = self.track.host_valid
        self.track.advance(reduction, tokens)
        return self._drop(reduction, values, rows, before)

    def _look(self, step: Step, rows: Tensor) -> tuple[Tensor, dict[Score, Tensor]]:
        """The rows (B, N, unit, D) of the units left, and the scores of them that a stage is given."""
        with self._steps.scoring(tower=True):
            scores: dict[Score, Tensor] = {
                need: self.scored(step.layer, need, self.track) for need in step.mechanism.needs if need in TOWER_SCORES
            }
            if "representation_shift" in step.mechanism.needs:
                shift = (rows - self._before[step.layer]).float()
                scores["representation_shift"] = self._by_item(shift[self._on(self._rows)].mean(1).norm(dim=-1))
            if "patch_embeddings" in step.mechanism.needs:
                scores["patch_embeddings"] = self.scored(0, "patch_embeddings", self.track)
        return self._by_item(rows[self._on(self._rows)]), scores

    def _run_by_tile(
        self, step: Step, targets: Sequence[int], values: Tensor, scores: dict[Score, Tensor]
    ) -> Reduction:
        """Divide each item's budget over its tiles, so that the batch stays nearly rectangular; reduce each tile."""
        budgets: list[int] = []
        by_budget: list[Tensor] = []
        for item, total in enumerate(targets):
            units = (self._owner == item).nonzero()[:, 0]
            tiles, counts = torch.unique(self._tile[units], return_counts=True)
            for tile, quota in zip(tiles.tolist(), spread(total, counts.tolist()), strict=True):
                if quota:
                    budgets.append(quota)
                    by_budget.append(units[self._tile[units] == tile])
        index, real = column_index([len(units) for units in by_budget])
        place = self.track.host_valid.view(-1).nonzero()[:, 0]
        at = torch.where(real, place[torch.cat(by_budget)][index], -1)
        flat, valid = self._on(at.clamp_min(0)), self._on(real)

        def by_tile(rows: Tensor) -> Tensor:
            return rows.reshape(-1, *rows.shape[2:])[flat]

        track = self.track
        by_item = track.tokens(values.mean(2))
        tokens = Tokens(
            features=by_tile(by_item.features),
            valid=valid,
            grid=by_tile(by_item.grid),
            box=by_tile(by_item.box),
            mass=by_tile(by_item.mass),
        )
        reduction = self._steps.run(step, tokens, budgets, {need: by_tile(score) for need, score in scores.items()})
        return reduction.lifted(at, (track.ids.shape[0], track.ids.shape[1]))

    def _drop(self, reduction: Reduction, values: Tensor, rows: Tensor, before: Tensor) -> Tensor:
        """Rows left after a reduction of the units, survivors in place.

        Args:
            reduction: of the track, already advanced by it.
            values: (B, N, unit, D) the units' rows.
            rows: (rows left, D) of the tower.
            before: (B, N) bool on the host, tokens before the reduction.
        """
        kept = reduction.kept
        flags = torch.zeros(before.shape, dtype=torch.bool)
        row, column = (kept >= 0).nonzero(as_tuple=True)
        flags[row, kept[row, column]] = True
        alive = flags[before]
        stay = torch.ones(len(rows), dtype=torch.bool)
        stay[self._rows[~alive].reshape(-1)] = False
        survivors = self._rows[alive]
        if not reduction.is_selection:
            merged = reduction.apply(values).reshape(-1, *values.shape[2:])
            merged = merged[self._on(self.track.host_valid.view(-1).nonzero()[:, 0])]
            rows = rows.index_copy(0, self._on(survivors.reshape(-1)), merged.reshape(-1, rows.shape[1]))
        rows = rows.index_select(0, self._on(stay.nonzero()[:, 0]))
        self._rows = (stay.cumsum(0) - 1)[survivors]
        self._owner, self._tile = self._owner[alive], self._tile[alive]
        self._kept = self._kept.clone()
        self._kept[self._kept.nonzero()[:, 0][~stay]] = False
        self._bounds.clear()
        self._masks.clear()
        self._tile_masks.clear()
        if self.tiles is not None:
            self._columns = Columns.of(self._kept.view(self.tiles))
        return rows
