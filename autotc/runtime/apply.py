"""Attach a policy to an unchanged Hugging Face model: the one place with hooks."""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import AutotcError, InputsError, MechanismError, PolicyError
from autotc.mechanisms import (
    LAYER_SCORES,
    TEXT_SCORES,
    TOWER_SCORES,
    Mechanism,
    Modality,
    Reduction,
    Score,
    Tokens,
    target_count,
)
from autotc.models import Adapter, Item, find_adapter
from autotc.policy import Policy, Stage
from autotc.runtime.asked import LayerScores, picked, text_columns
from autotc.runtime.decode import Columns, cache_length, leading_padding
from autotc.runtime.ledger import StageStats, Track, check_reduction, concurrent_retention
from autotc.runtime.prepare import original_grids
from autotc.runtime.scores import text_similarity
from autotc.runtime.towers import TowerRun

_ACTIVE: weakref.WeakKeyDictionary[nn.Module, Handle] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class _Step:
    """One reduction of the policy."""

    index: int
    stage: Stage
    layer: int
    keep_ratio: float
    mechanism: Mechanism

    @property
    def label(self) -> str:
        layer = f"[{self.layer}]" if self.stage.location in ("encoder", "decoder") else ""
        return f"{self.stage.modality} {self.stage.location}{layer} {self.stage.mechanism}"


@dataclass
class _Request:
    """One prefill and the decode steps after it."""

    tracks: dict[Modality, Track]
    original: Columns | None
    layers: list[Columns | None]
    query: Tensor | None
    valid: Tensor
    flash: bool
    decoding: bool = False
    before: dict[int, Tensor] = field(default_factory=dict)
    captured: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    rotary: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What one reduction of a policy saw and did.

    Attributes:
        stage: index of the stage in the policy.
        layer: of the reduction; None at input and projector.
        tokens, scores: what the mechanism was given.
        reduction: what it returned.
    """

    stage: int
    layer: int | None
    tokens: Tokens
    scores: dict[Score, Tensor]
    reduction: Reduction


Observer = Callable[[Observation], None]


class Handle:
    """An applied policy; a context manager. ``remove()`` restores the model to exactly what it was.

    Attributes:
        model, policy: what was applied to what.
        stats: per request (the last 1,000), what each stage was asked for and left.
        last: modality -> `Track` of the last request: which input each surviving token stands for.
        scoring_seconds: per request, time the host spent on scores and mechanisms; on an accelerator that is the time
            to launch them, unless it is synchronised.
    """

    def __init__(self, model: nn.Module, policy: Policy, adapter: Adapter, observer: Observer | None = None) -> None:
        self.model, self.policy, self._adapter, self._observer = model, policy, adapter, observer
        self.stats: deque[list[StageStats]] = deque(maxlen=1000)
        self.last: dict[Modality, Track] = {}
        self.scoring_seconds: deque[float] = deque(maxlen=1000)
        self._spent = 0.0
        self._config: Any = model.config
        self._removers: list[Callable[[], None]] = []
        self._steps = [
            _Step(i, stage, layer or 0, ratio, stage.build())
            for i, stage in enumerate(policy.stages)
            for layer, ratio in stage.steps()
        ]
        self._has_input = {s.stage.modality for s in self._steps if s.stage.location == "input"}
        self._encoding: Modality | None = None
        self._towers: dict[Modality, TowerRun] = {}
        self._pending: dict[Modality, list[Item]] = {}
        self._input_ids: Tensor | None = None
        self._attention_mask: Tensor | None = None
        self._request: _Request | None = None
        self._current: list[StageStats] = []
        if policy.stages:
            self._attach()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __reduce__(self) -> Any:
        raise AutotcError("an applied policy cannot be pickled; save the policy and apply it where it is loaded")

    def remove(self) -> None:
        """Take every hook away; calling it twice is harmless."""
        for remove in reversed(self._removers):
            remove()
        self._removers.clear()
        self._request, self._towers, self._pending = None, {}, {}
        if _ACTIVE.get(self.model) is self:
            del _ACTIVE[self.model]

    # --- attaching ---

    def _at(self, location: str, modality: Modality | None = None, layer: int | None = None) -> list[_Step]:
        return [
            s
            for s in self._steps
            if s.stage.location == location
            and (modality is None or s.stage.modality == modality)
            and (layer is None or s.layer == layer)
        ]

    def _attach(self) -> None:
        adapter, model = self._adapter, self.model
        base = adapter.base(model)
        for modality, name in adapter.feature_methods().items():
            if any(s.stage.modality == modality for s in self._steps):
                self._wrap(base, name, modality)
        self._hook(model.register_forward_pre_hook(self._before_model, with_kwargs=True, prepend=True))
        language = adapter.language_model(model)
        self._hook(language.register_forward_pre_hook(self._before_language, with_kwargs=True, prepend=True))
        layers = adapter.layers(model)
        decoder = self._at("decoder")
        for i, layer in enumerate(layers):
            hook = functools.partial(self._before_layer, i)
            self._hook(layer.register_forward_pre_hook(hook, with_kwargs=True, prepend=True))
        watched = {
            s.layer - 1
            for s in decoder
            if s.mechanism.score_source == "previous" and LAYER_SCORES & {*s.mechanism.needs}
        }
        for i in watched:
            projections = adapter.layer_projections(layers[i])
            for part, module in (("query", projections.query), ("key", projections.key)):
                self._hook(module.register_forward_hook(functools.partial(self._capture, i, part), prepend=True))
        for modality in adapter.feature_methods():
            self._attach_tower(modality)

    def _attach_tower(self, modality: Modality) -> None:
        watched = self._tower_scores(modality)
        if not watched and not self._at("encoder", modality):
            return
        blocks = self._adapter.blocks(self.model, modality)
        last = len(blocks) - 1
        for i, block in enumerate(blocks):
            before = functools.partial(self._before_block, modality, i)
            after = functools.partial(self._after_block, modality, i, last)
            self._hook(block.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
            self._hook(block.register_forward_hook(after, with_kwargs=True, prepend=True))
        for i in watched:
            projections = self._adapter.block_projections(blocks[i])
            # Hooks that are prepended run last first; queries must come before keys, also of one fused layer.
            for part, module in (("key", projections.key), ("query", projections.query)):
                capture = functools.partial(self._capture_block, modality, i, part)
                self._hook(module.register_forward_hook(capture, prepend=True))

    def _tower_scores(self, modality: Modality) -> dict[int, set[Score]]:
        """Block of the modality's tower -> scores to take there."""
        out: dict[int, set[Score]] = {}
        for step in self._at("encoder", modality) + self._at("projector", modality):
            for need in TOWER_SCORES & {*step.mechanism.needs}:
                out.setdefault(self._score_block(modality, step, need), set()).add(need)
        return out

    def _score_block(self, modality: Modality, step: _Step, need: Score) -> int:
        if step.stage.location == "encoder":
            return step.layer
        return self._adapter.score_block(self._config, modality, need)

    def _hook(self, handle: Any) -> None:
        self._removers.append(handle.remove)

    def _wrap(self, base: nn.Module, name: str, modality: Modality) -> None:
        # No hook tells the shared vision tower whether it sees images or a video: wrap the instance's method.
        inner = getattr(base, name)
        signature = inspect.signature(inner)
        present = name in base.__dict__
        previous = base.__dict__.get(name)

        @functools.wraps(inner)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind_partial(*args, **kwargs).arguments
            items = self._adapter.geometry(self._config, modality, arguments)
            self._pending[modality] = self._with_originals(modality, items, arguments)
            self._towers.pop(modality, None)
            self._encoding = modality
            try:
                return inner(*args, **kwargs)
            finally:
                self._encoding = None

        def restore() -> None:
            if present:
                base.__dict__[name] = previous
            else:
                base.__dict__.pop(name, None)

        base.__dict__[name] = wrapped
        self._removers.append(restore)

    def _with_originals(self, modality: Modality, items: list[Item], arguments: dict[str, Any]) -> list[Item]:
        if modality not in self._has_input:
            return items
        grids = original_grids(modality, arguments)
        if grids is None or len(grids) != len(items):
            raise InputsError(
                f"{modality}: the policy has an input stage, but these inputs were not prepared by"
                " autotc.configure(processor, policy); call what it returns in place of the processor"
            )
        return [item.shrunk_from(grid) for item, grid in zip(items, grids, strict=True)]

    # --- towers ---

    def _before_block(
        self, modality: Modality, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self._encoding != modality:
            return None
        hidden: Tensor = args[0]
        if index == 0:
            items = self._pending[modality]
            self._towers[modality] = TowerRun(self._adapter, self._config, modality, items, hidden)
        tower = self._towers[modality]
        rows = tower.packed(hidden)
        if index > 0:
            for step in self._at("encoder", modality, index - 1):
                rows = self._reduce_tower(tower, step, rows)
        tower.before[index] = rows
        flash = "flash" in str(getattr(getattr(module, "config", None), "_attn_implementation", ""))
        further, changed = tower.call(args[1:], kwargs, flash)
        return (tower.batched(rows), *further), changed

    def _capture_block(
        self, modality: Modality, index: int, part: str, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if self._encoding == modality:
            projections = self._adapter.block_projections(self._adapter.blocks(self.model, modality)[index])
            with self._scoring():
                tower, wanted = self._towers[modality], self._tower_scores(modality)[index]
                tower.capture(index, part, output, projections, wanted)

    def _reduce_tower(self, tower: TowerRun, step: _Step, rows: Tensor) -> Tensor:
        """Remove units before a block: survivors take their sources' weighted sum, patch by patch."""
        track = tower.track
        budget = self._budget(track, step)
        if budget is None:
            return rows
        values = tower.by_item(rows[tower.rows])
        scores: dict[Score, Tensor] = {
            need: tower.scores[step.layer, need][0] for need in step.mechanism.needs if need in TOWER_SCORES
        }
        tokens = track.tokens(values.mean(2))
        valid = track.valid
        with self._scoring():
            if "representation_shift" in step.mechanism.needs:
                shift = (rows - tower.before[step.layer]).float()
                scores["representation_shift"] = tower.by_item(shift[tower.rows].mean(1).norm(dim=-1))
            reduction = self._run(step, tokens, budget, scores)
        track.advance(reduction, tokens)
        return tower.drop(reduction, values, rows, valid)

    def _after_block(
        self,
        modality: Modality,
        index: int,
        last: int,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> Any:
        if self._encoding != modality or index != last:
            return None
        tower = self._towers[modality]
        hidden = output[0] if isinstance(output, tuple) else output
        rows = tower.packed(hidden)
        for step in self._at("encoder", modality, last):
            rows = self._reduce_tower(tower, step, rows)
        tower.before.clear()
        if tower.whole:
            return None
        whole = tower.with_holes(rows)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    # --- the language model's entry ---

    def _before_model(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self._input_ids = ids
        self._attention_mask = kwargs.get("attention_mask")

    def _before_language(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        past = kwargs.get("past_key_values")
        length = cache_length(past)
        if length > 0:
            return self._decode_step(args, kwargs)
        return self._prefill(args, kwargs)

    def _decode_step(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        request = self._request
        if self._pending:
            names = ", ".join(self._pending)
            raise InputsError(f"{names}: new media on a cache that already holds a request are not supported")
        if request is None:
            raise InputsError("past_key_values: the cache was made without this policy; prefill under it first")
        if not request.decoding:
            request.decoding = True
            first = request.layers[0]
            if first is not None:
                # The model makes its mask for the length of layer 0's cache: that becomes the sequence to count in.
                request.original = first if request.original is None else request.original.then(first)
                request.layers = [
                    None if columns is first or columns is None else columns.within(first) for columns in request.layers
                ]
        if request.original is None:
            return None
        mask = kwargs.get("attention_mask")
        embeds = kwargs["inputs_embeds"]
        columns = request.original
        if kwargs.get("position_ids") is None:
            # The model would count from what its cache holds; positions go on from the uncompressed prompt.
            start = columns.size + cache_length(kwargs["past_key_values"]) - columns.index.shape[1]
            positions = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
            kwargs = kwargs | {"position_ids": positions}
        if isinstance(mask, dict):
            raise InputsError("attention_mask: prepared per layer type; pass the 2-D mask")
        if mask is None:
            if columns.full:
                return args, kwargs
            additions = cache_length(kwargs["past_key_values"]) - columns.index.shape[1] + embeds.shape[1]
            mask = torch.ones(len(columns.index), columns.size + additions, dtype=torch.long, device=embeds.device)
        additions = mask.shape[1] - columns.size
        return args, kwargs | {"attention_mask": columns.mask(mask, 1, additions, True, embeds.dtype)}

    def _prefill(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        embeds: Tensor = kwargs["inputs_embeds"]
        ids, mask = self._input_ids, kwargs.get("attention_mask")
        self._current = []
        self.stats.append(self._current)
        self.scoring_seconds.append(self._spent)
        self._spent = 0.0
        layers = len(self._adapter.layers(self.model))
        flash = "flash" in str(getattr(self._config, "_attn_implementation", ""))
        valid = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            valid = mask.bool()
        request = _Request({}, None, [None] * layers, None, valid, flash)
        self._request = request
        pending, self._pending = self._pending, {}
        towers, self._towers = self._towers, {}
        if not pending:
            return None
        if ids is None:
            raise InputsError("input_ids: missing; the policy needs them to find media and query in inputs_embeds")
        if isinstance(mask, dict) or (isinstance(mask, Tensor) and mask.dim() != 2):
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt")
        if any(TEXT_SCORES & {*s.mechanism.needs} for s in self._steps):
            request.query = self._adapter.query_mask(self._config, ids, self._attention_mask)
        removed = torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        values = embeds
        for modality, items in pending.items():
            request.tracks[modality] = self._locate(modality, items, ids, towers.get(modality))
        for modality in self._guides_first(request.tracks):
            values = self._project(
                request.tracks[modality], modality, values, request, towers.get(modality), removed
            )  # fmt: skip
        self.last = dict(request.tracks)
        if not bool(removed.any()):
            return None
        columns = Columns.of(~removed & ~leading_padding(valid))
        request.original = columns
        request.valid = columns.gather(valid) & columns.valid
        if request.query is not None:
            request.query = columns.gather(request.query) & columns.valid
        self._move(request, columns, embeds.shape[1])
        # A mask is always passed: without one, gaps in the positions would be taken for packed sequences.
        changed = {"inputs_embeds": columns.gather(values), "attention_mask": request.valid.long()}
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        changed["position_ids"] = columns.positions(positions)
        return args, kwargs | changed

    def _guides_first(self, modalities: Iterable[Modality]) -> list[Modality]:
        """The modalities, those that guide others before those that they guide."""
        guided = {s.stage.modality for s in self._steps if s.mechanism.companion is not None}
        return sorted(modalities, key=lambda modality: modality in guided)

    def _locate(self, modality: Modality, items: list[Item], ids: Tensor, tower: TowerRun | None) -> Track:
        """Find the items' placeholders in the batch; with beams, rows repeat and so do their items."""
        places = (ids == self._adapter.placeholders(self._config)[modality]).nonzero()
        total = sum(item.count for item in items)
        repeats, rest = divmod(len(places), total) if total else (0, 1)
        if rest or repeats < 1:
            raise InputsError(
                f"{modality}: {len(places)} placeholder tokens for {total} features; both must come from one processor"
                " call"
            )
        track = tower.track if tower is not None else Track.start(items, ids.device)
        per_row = torch.bincount(places[:, 0], minlength=ids.shape[0]).tolist()
        order: list[int] = []
        start = 0
        for row in range(0, ids.shape[0], repeats):
            end, count = start, 0
            while count < per_row[row]:
                count += items[end].count
                end += 1
            if count != per_row[row] or len(set(per_row[row : row + repeats])) != 1:
                raise InputsError(
                    f"{modality}: row {row} has {per_row[row]} placeholder tokens, its items have {count}"
                )
            order += [*range(start, end)] * repeats
            start = end
        if repeats > 1:
            track = _repeat(track, order, items)
        at, unit = 0, torch.full(track.valid.shape, -1, dtype=torch.long, device=ids.device)
        rows = []
        for i, item in enumerate(track.items):
            span = places[at : at + item.count]
            rows.append(int(span[0, 0]))
            unit[i] = torch.where(track.valid[i], span[track.ids[i].clamp_min(0), 1], -1)
            at += item.count
        track.row = torch.tensor(rows, device=ids.device)
        track.column = unit
        return track

    def _project(
        self,
        track: Track,
        modality: Modality,
        values: Tensor,
        request: _Request,
        tower: TowerRun | None,
        removed: Tensor,
    ) -> Tensor:
        """Drop holes and run projector stages; marks dropped columns in ``removed``, returns the embeddings."""
        assert track.row is not None
        assert track.column is not None
        ids = self._input_ids
        assert ids is not None  # checked by _prefill
        media = ids == self._adapter.placeholders(self._config)[modality]
        holes = media & torch.isnan(values).any(-1)
        expected = int(media.sum()) - int(track.valid.sum())
        if int(holes.sum()) != expected:
            raise MechanismError(
                f"{modality}: {int(holes.sum())} holes reached the language model, {expected} were made"
            )
        if expected:
            values = values.masked_fill(holes[..., None], 0.0)
        for step in self._at("projector", modality):
            budget = self._budget(track, step)
            if budget is None:
                continue
            features = self._features(track, values)
            tokens = track.tokens(features)
            with self._scoring():
                scores = self._tower_scores_now(track, modality, step, tower)
                scores |= self._context_scores(request, track, step, features, values)
                reduction = self._run(step, tokens, budget, scores)
            track.advance(reduction, tokens)
            values = self._write(track, values, reduction.apply(features), reduction)
        gone = media.clone()
        row = track.row[:, None].expand_as(track.column)
        gone[row[track.valid], track.column[track.valid]] = False
        removed |= gone
        return values

    def _tower_scores_now(
        self, track: Track, modality: Modality, step: _Step, tower: TowerRun | None
    ) -> dict[Score, Tensor]:
        """Scores that were taken inside the tower, for the tokens that are left."""
        scores: dict[Score, Tensor] = {}
        for need in step.mechanism.needs:
            if need in TOWER_SCORES:
                assert tower is not None  # attached because of this need
                source, ids_then = tower.scores[self._score_block(modality, step, need), need]
                at = _match(ids_then, track.ids, len(track.items))
                index = at if source.dim() == 2 else at[..., None].expand(-1, -1, source.shape[2])
                repeated = source.repeat_interleave(len(track.items) // len(source), 0)
                scores[need] = repeated.gather(1, index)
        return scores

    # --- decoder layers ---

    def _before_layer(
        self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        request = self._request
        if request is None:
            return None
        columns = request.layers[index]
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        mask = kwargs.get("attention_mask")
        if request.decoding:
            if columns is None:
                return None
            cache = kwargs.get("past_key_values")
            additions = cache_length(cache, index) - columns.index.shape[1] + hidden.shape[1]
            return args, kwargs | {
                "attention_mask": columns.mask(mask, hidden.shape[1], additions, request.flash, hidden.dtype)
            }
        steps = self._at("decoder", layer=index)
        if not steps and columns is None:
            self._remember(request, index, hidden, kwargs)
            return None
        for step in steps:
            track = request.tracks.get(step.stage.modality)
            if track is not None:
                hidden = self._reduce_layer(request, track, step, index, hidden, kwargs)
        columns = request.layers[index]
        if columns is None:
            self._remember(request, index, hidden, kwargs)
            return None
        changed = dict(kwargs)
        changed["attention_mask"] = columns.mask(mask, hidden.shape[1], 0, request.flash, hidden.dtype)
        changed["position_embeddings"] = tuple(columns.gather(p) for p in kwargs["position_embeddings"])
        if kwargs.get("position_ids") is not None:
            changed["position_ids"] = columns.positions(kwargs["position_ids"])
        if "hidden_states" in changed:
            changed["hidden_states"] = hidden
        self._remember(request, index, hidden, changed)
        return (hidden, *args[1:]) if args else args, changed

    def _remember(self, request: _Request, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        request.before = {index: hidden} | {k: v for k, v in request.before.items() if k == index - 1}
        request.rotary = {index: kwargs["position_embeddings"]}

    def _capture(self, index: int, part: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        request = self._request
        if request is not None and not request.decoding:
            request.captured[index, part] = output

    def _reduce_layer(
        self, request: _Request, track: Track, step: _Step, index: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> Tensor:
        budget = self._budget(track, step)
        if budget is None:
            return hidden
        assert track.row is not None
        assert track.column is not None
        features = self._features(track, hidden)
        tokens = track.tokens(features)
        old = torch.where(track.valid, track.column, 0)
        media = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        rows = track.row[:, None].expand_as(old)
        media[rows[track.valid], old[track.valid]] = True
        with self._scoring():
            scores = self._layer_scores(request, track, step, index, hidden, features, kwargs)
            reduction = self._run(step, tokens, budget, scores)
        track.advance(reduction, tokens)
        hidden = self._write(track, hidden, reduction.apply(features), reduction)
        kept = ~media
        rows = track.row[:, None].expand_as(track.column)
        kept[rows[track.valid], track.column[track.valid]] = True
        columns = request.layers[index]
        later = Columns.of(kept & ~leading_padding(request.valid))
        whole = later if columns is None else columns.then(later)
        for i in range(index, len(request.layers)):
            request.layers[i] = whole
        request.valid = later.gather(request.valid) & later.valid
        if request.query is not None:
            request.query = later.gather(request.query) & later.valid
        self._move(request, later, hidden.shape[1])
        request.captured = {key: later.gather(value) for key, value in request.captured.items() if key[0] == index - 1}
        request.rotary = {k: tuple(later.gather(p) for p in v) for k, v in request.rotary.items()}
        request.before = {k: later.gather(v) for k, v in request.before.items()}
        return later.gather(hidden)

    def _layer_scores(
        self,
        request: _Request,
        track: Track,
        step: _Step,
        index: int,
        hidden: Tensor,
        features: Tensor,
        kwargs: dict[str, Any],
    ) -> dict[Score, Tensor]:
        scores = self._context_scores(request, track, step, features, hidden)
        needs = step.mechanism.needs
        if "representation_shift" in needs:
            shift = (hidden - request.before[index - 1]).float().norm(dim=-1)
            scores["representation_shift"] = shift[track.batch_row].gather(1, track.place.clamp_min(0))
        wanted = [need for need in needs if need in LAYER_SCORES]
        if not wanted:
            return scores
        layer = self._layer_of(request, step, index, hidden, kwargs)
        for need in wanted:
            score = getattr(layer, need)
            if need in TEXT_SCORES:
                assert request.query is not None  # found at the language model's entry
                scores[need] = score(track, text_columns(request.query))
            else:
                scores[need] = score(track)
        return scores

    def _layer_of(
        self, request: _Request, step: _Step, index: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> LayerScores:
        """The layer that a step's scores come from: the one before, as it ran, or its own, projected here."""
        adapter, own = self._adapter, step.mechanism.score_source == "own"
        module = adapter.layers(self.model)[index if own else index - 1]
        projections = adapter.layer_projections(module)
        if own:
            normed = adapter.layer_norm(module)(hidden)
            key = projections.key(normed)
            columns = request.layers[index]
            rotary = kwargs["position_embeddings"]
            if columns is not None:
                rotary = tuple(columns.gather(p) for p in rotary)

            def query(rows: Tensor, at: Tensor) -> Tensor:
                projected: Tensor = projections.query(picked(normed, rows, at))
                return projected
        else:
            key = request.captured[index - 1, "key"]
            captured = request.captured[index - 1, "query"]
            rotary = request.rotary[index - 1]

            def query(rows: Tensor, at: Tensor) -> Tensor:
                return picked(captured, rows, at)

        heads = step.mechanism.head_reduction
        return LayerScores(adapter, projections, query, key, rotary, request.valid, heads)

    def _context_scores(
        self, request: _Request, track: Track, step: _Step, features: Tensor, values: Tensor
    ) -> dict[Score, Tensor]:
        """Scores that read no layer: the query span, and what became of the companion modality."""
        needs = step.mechanism.needs
        scores: dict[Score, Tensor] = {}
        if "text_similarity" in needs:
            scores["text_similarity"] = self._similarity(track, features, values, request)
        if "text_features" in needs:
            assert request.query is not None  # found at the language model's entry
            scores["text_features"] = picked(values, track.batch_row, text_columns(request.query)[track.batch_row])
        if "concurrent_retention" in needs:
            companion = step.mechanism.companion
            scores["concurrent_retention"] = concurrent_retention(
                track, None if companion is None else request.tracks.get(companion)
            )
        return scores

    # --- shared ---

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Adds what passes inside to the request's scoring time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            if self._encoding is not None or not self.scoring_seconds:
                self._spent += spent  # the request begins at the language model's entry
            else:
                self.scoring_seconds[-1] += spent

    def _budget(self, track: Track, step: _Step) -> Tensor | None:
        """(B,) long tokens to keep of each item; None when no item has more than that."""
        wanted, left = track.budget(step.keep_ratio)
        untouched = sum(w >= n for w, n in zip(wanted, left, strict=True))
        requested = [target_count(step.keep_ratio, item.n0, item.n0) for item in track.items]
        layer = step.layer if step.stage.location in ("encoder", "decoder") else None
        self._current.append(StageStats(step.index, layer, step.label, requested, left, untouched))
        if untouched == len(left) and self._observer is None and not step.mechanism.adaptive:
            return None
        return torch.tensor(wanted, device=track.valid.device)

    def _run(self, step: _Step, tokens: Tokens, budget: Tensor, scores: dict[Score, Tensor]) -> Reduction:
        try:
            reduction = step.mechanism.reduce(tokens, budget, scores)
        except AutotcError:
            raise
        except Exception as error:
            raise MechanismError(f"{step.stage.mechanism}: {type(error).__name__}: {error}") from error
        self._current[-1].realised = reduction.count.tolist()
        if self._observer is not None:
            layer = step.layer if step.stage.location in ("encoder", "decoder") else None
            self._observer(Observation(step.index, layer, tokens, scores, reduction))
        return check_reduction(step.stage.mechanism, reduction, budget, step.mechanism.adaptive)

    @staticmethod
    def _features(track: Track, values: Tensor) -> Tensor:
        assert track.row is not None
        assert track.column is not None
        at = track.column.clamp_min(0)
        features = values[track.row].gather(1, at[..., None].expand(-1, -1, values.shape[2]))
        return features.masked_fill(~track.valid[..., None], 0.0)

    @staticmethod
    def _write(track: Track, values: Tensor, survivors: Tensor, reduction: Reduction) -> Tensor:
        """Put survivors' features at their columns of the current sequence."""
        assert track.row is not None
        assert track.column is not None
        if reduction.is_selection:
            return values
        values = values.clone()
        row = track.row[:, None].expand_as(track.column)
        values[row[track.valid], track.column[track.valid]] = survivors[track.valid].to(values.dtype)
        return values

    def _similarity(self, track: Track, features: Tensor, values: Tensor, request: _Request) -> Tensor:
        assert request.query is not None
        assert track.row is not None
        mask = request.query.to(values.dtype)
        safe = values.masked_fill(~request.query[..., None], 0.0)
        mean = safe.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return text_similarity(features, mean[track.row])

    @staticmethod
    def _move(request: _Request, columns: Columns, length: int) -> None:
        """Renumber the tracks' columns after the sequence lost some."""
        for track in request.tracks.values():
            assert track.row is not None
            assert track.column is not None
            place = torch.full((columns.index.shape[0], length), -1, dtype=torch.long, device=columns.index.device)
            row, new = columns.valid.nonzero(as_tuple=True)
            place[row, columns.index[row, new]] = new
            moved = place[track.row[:, None].expand_as(track.column), track.column.clamp_min(0)]
            track.column = torch.where(track.valid, moved, -1)


def _repeat(track: Track, order: Sequence[int], items: Sequence[Item]) -> Track:
    """The track with its items in ``order`` (repeated rows of a beam search)."""
    index = torch.tensor(list(order), device=track.valid.device)
    out = Track(
        [items[i] for i in order],
        track.valid[index],
        track.ids[index],
        track.grid[index],
        track.box[index],
        track.mass[index],
    )
    return out


def _match(source: Tensor, wanted: Tensor, rows: int) -> Tensor:
    """Column in ``source`` (B, N) of each id in ``wanted`` (B x repeats, M); 0 on padding."""
    source = source.repeat_interleave(rows // len(source), 0)
    size = int(torch.maximum(source.max(), wanted.max())) + 1
    place = torch.zeros(rows, size, dtype=torch.long, device=source.device)
    row, column = (source >= 0).nonzero(as_tuple=True)
    place[row, source[row, column]] = column
    return place.gather(1, wanted.clamp_min(0))


def apply(model: nn.Module, policy: Policy | str | Path, observer: Observer | None = None) -> Handle:
    """Apply a policy to a model; use the handle as a context manager, or call its ``remove()``.

    Args:
        model: a supported Hugging Face model, left as it is.
        policy: a policy or the path of its file.
        observer: called after every reduction with what it saw and did, also where it had nothing to remove.

    Raises:
        PolicyError: the policy is malformed or made for another model.
        UnsupportedModelError: no adapter knows the model.
    """
    if isinstance(policy, (str, Path)):
        policy = Policy.load(policy)
    adapter = find_adapter(model)
    adapter.validate(model, policy)
    if model in _ACTIVE:
        raise PolicyError("a policy is already applied to this model; remove it first")
    handle = Handle(model, policy, adapter, observer)
    _ACTIVE[model] = handle
    return handle
