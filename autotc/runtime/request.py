"""One prefill and the decode steps after it: where the media stand, what each layer holds, what it is called with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import InputsError, MechanismError
from autotc.mechanisms import LAYER_SCORES, TEXT_SCORES, TOWER_SCORES, Reduction, Score
from autotc.models import Adapter, Item
from autotc.runtime.asked import LayerScores, picked, text_columns
from autotc.runtime.decode import Columns, LayerMasks, cache_length, given_cache, leading_padding
from autotc.runtime.ledger import Track, concurrent_retention
from autotc.runtime.scores import text_similarity
from autotc.runtime.steps import Step, Steps
from autotc.runtime.towers import TowerRun
from autotc.vocabulary import Modality

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Prompt:
    """What the model was called with.

    Attributes:
        arguments: by name.
        items: modality -> items that were encoded for this prompt.
        towers: modality -> what its tower did.
        ids: its ``input_ids`` on the host, where they were brought there already.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    items: dict[Modality, list[Item]] = field(default_factory=dict)
    towers: dict[Modality, TowerRun] = field(default_factory=dict)
    ids: Tensor | None = None


def check_placeholders(modality: Modality, items: Sequence[Item], placeholders: int) -> int:
    """How often a prompt repeats its items: once, or with beams once for each.

    Raises:
        InputsError: its placeholders are not those of its items.
    """
    total = sum(item.slots for item in items)
    repeats, rest = divmod(placeholders, total) if total else (0, 1)
    if rest or repeats < 1:
        raise InputsError(
            f"{modality}: {placeholders} placeholder tokens for {total} features; both must come from one processor"
            " call"
        )
    return repeats


class Request:
    """A request from the language model's entry on. What says where things stand is on the host.

    Args:
        adapter, model: whose.
        steps: the policy's.
        prompt: what came before the language model.
    """

    def __init__(self, adapter: Adapter, model: nn.Module, steps: Steps, prompt: Prompt) -> None:
        self.tracks: dict[Modality, Track] = {}
        self._adapter, self._model, self._steps, self._prompt = adapter, model, steps, prompt
        self._config: Any = model.config
        depth = len(adapter.layers(model))
        # Columns that a layer holds: of the sequence at the language model's entry, and of the prompt.
        self._here: list[Columns | None] = [None] * depth
        self._stored: list[Columns | None] = [None] * depth
        self._entry: Columns | None = None
        self._valid = torch.empty(0, 0, dtype=torch.bool)
        self._query: Tensor | None = None
        self._masks: LayerMasks | None = None
        self._decoding = False
        self._tail: Tensor | None = None
        self._shifted = {s.layer - 1 for s in steps.at("decoder") if "representation_shift" in s.mechanism.needs}
        self._before: dict[int, Tensor] = {}
        self._captured: dict[tuple[int, str], Tensor] = {}
        self._rotary: dict[int, Any] = {}
        self._gathered: tuple[Any, Columns, Any] | None = None
        self._deep: dict[int, list[tuple[Track, int, Tensor]]] = {}
        self._order: dict[Modality, list[int]] = {}

    # --- the language model's entry ---

    def prefill(self, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments without what holes and projector stages have removed; None to leave them."""
        prompt = self._prompt
        if not prompt.items:
            return None
        embeds: Tensor = kwargs["inputs_embeds"]
        mask = kwargs.get("attention_mask")
        by_type = list(mask) if isinstance(mask, dict) else None
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            if isinstance(mask, Tensor):
                raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt")
            mask = prompt.arguments.get("attention_mask")
        ids = self._ids(embeds)
        if ids.shape != embeds.shape[:2]:
            raise InputsError(
                f"input_ids: {ids.shape[1]} tokens, the language model gets {embeds.shape[1]}; let the processor put a"
                " placeholder for each feature"
            )
        self._valid = torch.ones(ids.shape, dtype=torch.bool) if mask is None else mask.cpu().bool()
        blocks = self._adapter.blocks_seen_whole(self._config, prompt.arguments)
        windows = self._adapter.windows(self._config)
        self._masks = LayerMasks(self._config.get_text_config(), windows, self._valid, blocks)
        if any(TEXT_SCORES & {*step.mechanism.needs} for step in self._steps):
            self._query = self._query_mask(ids)
        media: dict[Modality, Tensor] = {}
        for modality, items in prompt.items.items():
            self.tracks[modality], media[modality] = self._locate(modality, items, ids, embeds.device)
        values, removed = embeds, torch.zeros(ids.shape, dtype=torch.bool)
        for modality in self._guides_first(self.tracks):
            values = self._project(self.tracks[modality], modality, values, media[modality], removed)
        changed = self._take_deepstack(kwargs, media, bool(removed.any()))
        if not bool(removed.any()):
            return kwargs | changed if changed else None
        self._masks.check()
        columns = Columns.of(~removed & ~leading_padding(self._valid))
        self._entry = columns
        self._stored = [columns] * len(self._stored)
        self._cut(columns, embeds.shape[1])
        # A mask is always passed: without one, gaps in the positions would be taken for packed sequences.
        left = self._valid.long().to(embeds.device, non_blocking=True)
        changed["attention_mask"] = left if by_type is None else dict.fromkeys(by_type)
        changed["inputs_embeds"] = columns.gather(values)
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        changed["position_ids"] = columns.positions(positions)
        return kwargs | changed

    def _ids(self, embeds: Tensor) -> Tensor:
        """(B, L) long on the host: the prompt's ids; from its embeddings only placeholders are known, -1 elsewhere."""
        arguments = self._prompt.arguments
        if self._prompt.ids is not None:
            return self._prompt.ids
        if arguments.get("input_ids") is not None:
            ids: Tensor = arguments["input_ids"].cpu()
            return ids
        given = arguments.get("inputs_embeds")
        if given is None:
            raise InputsError("input_ids: missing; the policy needs them, or inputs_embeds, to find the media")
        table: Any = self._model
        ids = torch.full(embeds.shape[:2], -1, dtype=torch.long)
        placeholders = self._adapter.placeholders(self._config)
        for modality in self._prompt.items:
            token = torch.tensor([placeholders[modality]], device=given.device)
            here = (given == table.get_input_embeddings()(token)).all(-1)
            ids[here.cpu()] = placeholders[modality]
        return ids

    def _query_mask(self, ids: Tensor) -> Tensor:
        if bool((ids < 0).any()):
            needy = next(s for s in self._steps if TEXT_SCORES & {*s.mechanism.needs})
            raise InputsError(
                f"input_ids: missing; {needy.stage.mechanism} reads the query, which inputs_embeds do not tell"
            )
        return self._adapter.query_mask(self._config, ids, self._valid)

    def _guides_first(self, modalities: Iterable[Modality]) -> list[Modality]:
        """The modalities, those that guide others before those that they guide."""
        guided = {step.stage.modality for step in self._steps if step.mechanism.companion is not None}
        return sorted(modalities, key=lambda modality: modality in guided)

    def _locate(self, modality: Modality, items: list[Item], ids: Tensor, device: torch.device) -> tuple[Track, Tensor]:
        """The items' track, and a mask (B, L) of their units' columns; with beams, rows repeat and so do items."""
        places = (ids == self._adapter.placeholders(self._config)[modality]).nonzero()
        repeats = check_placeholders(modality, items, len(places))
        per_row = torch.bincount(places[:, 0], minlength=ids.shape[0]).tolist()
        order: list[int] = []
        start = 0
        for row in range(0, ids.shape[0], repeats):
            end, count = start, 0
            while count < per_row[row] and end < len(items):
                count += items[end].slots
                end += 1
            if count != per_row[row] or len(set(per_row[row : row + repeats])) != 1:
                raise InputsError(
                    f"{modality}: row {row} has {per_row[row]} placeholder tokens, its items have {count}"
                )
            order += [*range(start, end)] * repeats
            start = end
        tower = self._prompt.towers.get(modality)
        track = tower.track if tower is not None else Track.start(items, device)
        if repeats > 1:
            track = track.repeated(order)
        self._order[modality] = order
        at, rows = 0, []
        units = torch.zeros(ids.shape, dtype=torch.bool)
        column = torch.full(track.ids.shape, -1, dtype=torch.long)
        for i, item in enumerate(track.items):
            span = places[at : at + item.slots]
            at += item.slots
            columns = span[item.offsets(), 1]
            rows.append(int(span[0, 0]))
            units[rows[-1], columns] = True
            column[i] = torch.where(track.there[i], columns[track.ids[i].clamp_min(0)], -1)
        track.row, track.column = torch.tensor(rows), column
        return track, units

    def _project(self, track: Track, modality: Modality, values: Tensor, units: Tensor, removed: Tensor) -> Tensor:
        """Drop holes and run projector stages; marks dropped columns in ``removed``, returns the embeddings."""
        tower = self._prompt.towers.get(modality)
        gone = units.clone()
        gone.view(-1)[track.flat(units.shape[1])] = False
        track.moved(values.device)
        if tower is not None and not tower.whole:
            holes = torch.isnan(values).any(-1)
            expected = gone.to(values.device, non_blocking=True)
            if not torch.equal(holes & units.to(values.device), expected):
                raise MechanismError(
                    f"{modality}: {int(holes.sum())} holes reached the language model, {int(gone.sum())} were made"
                )
            values = values.masked_fill(expected[..., None], 0.0)
        for step in self._steps.at("projector", modality):
            wanted = self._steps.budget(track, step, begun=True)
            if wanted is None:
                continue
            features = self._features(track, values)
            tokens = track.tokens(features)
            with self._steps.scoring(begun=True):
                scores = self._context_scores(track, step, features, values)
                for need in step.mechanism.needs:
                    if need in TOWER_SCORES:
                        assert tower is not None  # watched because of this need
                        block = self._adapter.score_block(self._config, modality, need)
                        scores[need] = tower.scored(block, need, track).to(values.device)
                reduction = self._steps.run(step, tokens, wanted, scores)
            self._steps.done(step, tokens, scores, reduction, begun=True)
            track.advance(reduction, tokens)
            values = self._write(track, values, features, reduction)
        gone = units.clone()
        gone.view(-1)[track.flat(units.shape[1])] = False
        removed |= gone
        return values

    def _cut(self, columns: Columns, length: int) -> None:
        """Renumber what is counted in columns after the sequence lost some."""
        at = columns.index.clamp_min(0)
        self._valid = self._valid.gather(1, at) & columns.valid
        if self._query is not None:
            self._query = self._query.gather(1, at) & columns.valid
        place = torch.full((len(at), length), -1, dtype=torch.long)
        row, new = columns.valid.nonzero(as_tuple=True)
        place[row, columns.index[row, new]] = new
        for track in self.tracks.values():
            moved = place[track.batch_row[:, None].expand_as(track.place), track.place.clamp_min(0)]
            track.column = torch.where(track.there, moved, -1)

    # --- deep-stack features ---

    def _take_deepstack(
        self, kwargs: Mapping[str, Any], media: Mapping[Modality, Tensor], removed: bool
    ) -> dict[str, Any]:
        """Take over features that the model would add to media tokens behind its first layers."""
        deep: Sequence[Tensor] | None = kwargs.get("deepstack_visual_embeds")
        if deep is None or not (removed or self._steps.at("decoder")):
            return {}
        seen = torch.stack([units for modality, units in media.items() if modality != "audio"]).any(0)
        number = (seen.view(-1).cumsum(0) - 1).view(seen.shape)
        for modality, units in media.items():
            blocks = self._adapter.deepstack(self._config, modality)
            if not blocks:
                continue
            track = self.tracks[modality]
            # Columns of all units of an item, in its order: that is how they were found.
            rows = [units[row].nonzero()[:, 0] for row in range(len(units))]
            columns, taken = [], [0] * len(rows)
            for i, item in enumerate(track.items):
                row = int(track.batch_row[i])
                columns.append(rows[row][taken[row] : taken[row] + item.count])
                taken[row] += item.count
            tower = self._prompt.towers.get(modality)
            for layer, features in enumerate(deep):
                since, ids = tower.expanded[blocks[layer]] if tower is not None else (0, None)
                if ids is None:
                    ids = Track.start(self._prompt.items[modality], torch.device("cpu")).ids
                ids = ids[self._order[modality]]
                index = torch.zeros(ids.shape, dtype=torch.long)
                for i in range(len(track.items)):
                    there = ids[i] >= 0
                    index[i, there] = number[int(track.batch_row[i]), columns[i][ids[i, there]]]
                values = features[index.to(features.device)].masked_fill((ids < 0)[..., None].to(features.device), 0.0)
                self._deep.setdefault(layer, []).append((track, since, values))
        return {"deepstack_visual_embeds": None}

    def after_layer(self, index: int, output: Any) -> Any:
        """Add a layer's deep-stack features to what is left of the tokens they belong to."""
        if self._decoding or index not in self._deep:
            return None
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        out = hidden.clone(memory_format=torch.contiguous_format)
        flat = out.view(-1, out.shape[-1])
        for track, since, values in self._deep.pop(index):
            values = values.to(hidden.device, hidden.dtype)
            for reduction in track.reductions[since:]:
                values = reduction.apply(values)
            real = track.there.view(-1).nonzero()[:, 0].to(hidden.device)
            places = track.flat(hidden.shape[1]).to(hidden.device)
            flat.index_add_(0, places, values.reshape(-1, values.shape[-1])[real])
        return (out, *output[1:]) if isinstance(output, tuple) else out

    # --- decode steps ---

    def only_new(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The model's arguments without tokens that its cache has seen; None where there are none.

        A caller that continues a conversation may pass all of it, and cuts off only as much as a shorter cache holds.
        """
        first, mask, positions = self._stored[0], arguments.get("attention_mask"), arguments.get("position_ids")
        given = next((arguments[k] for k in ("input_ids", "inputs_embeds") if arguments.get(k) is not None), None)
        if first is None or given is None or given.shape[1] == 1:
            return None
        length = given.shape[1]
        if isinstance(mask, Tensor) and mask.dim() == 2:
            total = mask.shape[1]
        elif isinstance(positions, Tensor):
            # generate() leaves an all-ones mask out; where nothing is padded, text positions count the tokens. With
            # M-RoPE they are the first of four rows, or, on a cache, the one row less the offset the media have made.
            text = positions if positions.dim() == 2 else positions[0]
            if positions.dim() == 3 and len(positions) != 4:
                base: Any = self._adapter.base(self._model)
                text = text - base.rope_deltas
            total = int(text.max()) + 1
        else:
            return None
        seen = first.size + cache_length(given_cache(arguments)) - first.index.shape[1]
        new = total - seen
        if not 0 < new < length:
            return None
        changed = dict(arguments)
        for name in ("input_ids", "position_ids", "token_type_ids", "mm_token_type_ids"):
            if isinstance(changed.get(name), Tensor) and changed[name].shape[-1] == length:
                changed[name] = changed[name][..., -new:]
        if changed.get("inputs_embeds") is not None:
            changed["inputs_embeds"] = changed["inputs_embeds"][:, -new:]
        return changed

    def decode(self, arguments: Mapping[str, Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments in a step on the cache; None to leave them.

        Args:
            arguments: of the model's call.
            kwargs: of the language model's.
        """
        self._decoding = True
        self._captured, self._rotary, self._before = {}, {}, {}
        if self._masks is None or all(columns is None for columns in self._stored):
            return None
        self._masks.forget()
        first = self._stored[0]
        mask = kwargs.get("attention_mask")
        mask = mask if isinstance(mask, Tensor) else arguments.get("attention_mask")
        size = next(columns.size for columns in self._stored if columns is not None)
        self._tail = None
        if isinstance(mask, Tensor):
            if mask.dim() != 2:
                raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt and what was decoded")
            tail = mask[:, size:].bool()
            self._tail = None if bool(tail.all()) else tail
        if first is None:
            return None
        changed: dict[str, Any] = {}
        if kwargs.get("position_ids") is None:
            # The model would count from what its cache holds; positions go on from the uncompressed prompt.
            embeds = kwargs["inputs_embeds"]
            start = first.size + cache_length(given_cache(kwargs)) - first.index.shape[1]
            changed["position_ids"] = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
        # Every layer gets its own mask; the language model's own would be for another length.
        given = kwargs.get("attention_mask")
        changed["attention_mask"] = dict.fromkeys(given) if isinstance(given, dict) else None
        return kwargs | changed

    # --- decoder layers ---

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A layer's arguments on the tokens left; None to leave them."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if self._decoding:
            stored = self._stored[index]
            if stored is None or self._masks is None:
                return None
            mask = self._masks(index, stored, hidden, given_cache(kwargs), self._tail)
            return args, kwargs | {"attention_mask": mask}
        for step in self._steps.at("decoder", layer=index):
            track = self.tracks.get(step.stage.modality)
            if track is not None:
                hidden = self._reduce_layer(track, step, index, hidden, kwargs)
        here, stored = self._here[index], self._stored[index]
        if index in self._shifted:
            self._before = {index: hidden}
        rotary = kwargs["position_embeddings"]
        if here is not None:
            rotary = self._rotary_of(rotary, here)
        self._rotary = {index: rotary}
        if stored is None or self._masks is None or (here is None and not self._masks.special):
            return None
        changed = kwargs | {"position_embeddings": rotary}
        changed["attention_mask"] = self._masks(index, stored, hidden, None, None)
        if here is not None and kwargs.get("position_ids") is not None:
            changed["position_ids"] = here.positions(kwargs["position_ids"])
        if "hidden_states" in changed:
            changed["hidden_states"] = hidden
        return (hidden, *args[1:]) if args else args, changed

    def _rotary_of(self, rotary: Any, columns: Columns) -> Any:
        """Position embeddings of the columns left; layers that share both share the result."""
        if self._gathered is None or self._gathered[0] is not rotary or self._gathered[1] is not columns:
            self._gathered = rotary, columns, tuple(columns.gather(part) for part in rotary)
        return self._gathered[2]

    def capture(self, index: int, part: str, output: Tensor) -> None:
        """Keep a layer's projected queries or keys."""
        if not self._decoding:
            self._captured[index, part] = output

    def _reduce_layer(self, track: Track, step: Step, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        wanted = self._steps.budget(track, step, begun=True)
        if wanted is None:
            return hidden
        assert self._masks is not None  # made with the tracks
        self._masks.check()
        track.moved(hidden.device)
        features = self._features(track, hidden)
        tokens = track.tokens(features)
        kept = torch.ones(hidden.shape[:2], dtype=torch.bool)
        kept.view(-1)[track.flat(hidden.shape[1])] = False
        with self._steps.scoring(begun=True):
            scores = self._layer_scores(track, step, index, hidden, features, kwargs)
            reduction = self._steps.run(step, tokens, wanted, scores)
        self._steps.done(step, tokens, scores, reduction, begun=True)
        if reduction.is_selection and reduction.counts == track.lengths:
            return hidden
        track.advance(reduction, tokens)
        hidden = self._write(track, hidden, features, reduction)
        kept.view(-1)[track.flat(hidden.shape[1])] = True
        later = Columns.of(kept & ~leading_padding(self._valid))
        here, stored = self._here[index], self._stored[index]
        here = later if here is None else here.then(later)
        stored = later if stored is None else stored.then(later)
        depth = len(self._here)
        self._here[index:] = [here] * (depth - index)
        self._stored[index:] = [stored] * (depth - index)
        self._cut(later, hidden.shape[1])
        self._captured = {k: later.gather(v) for k, v in self._captured.items() if k[0] == index - 1}
        self._rotary = {k: tuple(later.gather(part) for part in v) for k, v in self._rotary.items()}
        self._before = {k: later.gather(v) for k, v in self._before.items()}
        return later.gather(hidden)

    def _layer_scores(
        self, track: Track, step: Step, index: int, hidden: Tensor, features: Tensor, kwargs: dict[str, Any]
    ) -> dict[Score, Tensor]:
        scores = self._context_scores(track, step, features, hidden)
        needs = step.mechanism.needs
        if "representation_shift" in needs:
            before = self._before[index - 1].to(hidden.device)
            shift = (hidden - before).float().norm(dim=-1)
            scores["representation_shift"] = self._features(track, shift[..., None])[..., 0]
        wanted = [need for need in needs if need in LAYER_SCORES]
        if not wanted:
            return scores
        layer = self._layer_of(step, index, hidden, kwargs)
        for need in wanted:
            score: Callable[..., Tensor] = getattr(layer, need)
            if need in TEXT_SCORES:
                assert self._query is not None  # found at the language model's entry
                value = score(track, text_columns(self._query))
            else:
                value = score(track)
            scores[need] = value.to(hidden.device)
        return scores

    def _layer_of(self, step: Step, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> LayerScores:
        """The layer that a step's scores come from: the one before, as it ran, or its own, projected here."""
        adapter, own = self._adapter, step.mechanism.score_source == "own"
        module = adapter.layers(self._model)[index if own else index - 1]
        projections = adapter.layer_projections(module)
        if own:
            normed = adapter.layer_norm(module)(hidden)
            key = projections.key(normed)
            rotary, here = kwargs["position_embeddings"], self._here[index]
            if here is not None:
                rotary = self._rotary_of(rotary, here)

            def query(rows: Tensor, at: Tensor) -> Tensor:
                projected: Tensor = projections.query(picked(normed, rows, at))
                return projected
        else:
            key = self._captured[index - 1, "key"]
            captured = self._captured[index - 1, "query"]
            rotary = self._rotary[index - 1]

            def query(rows: Tensor, at: Tensor) -> Tensor:
                return picked(captured, rows, at)

        return LayerScores(adapter, projections, query, key, rotary, self._valid, step.mechanism.head_reduction)

    def _context_scores(self, track: Track, step: Step, features: Tensor, values: Tensor) -> dict[Score, Tensor]:
        """Scores that read no layer: the query span, and what became of the companion modality."""
        needs, device = step.mechanism.needs, values.device
        scores: dict[Score, Tensor] = {}
        rows = track.batch_row.to(device, non_blocking=True)
        if "text_similarity" in needs:
            assert self._query is not None  # found at the language model's entry
            query = self._query.to(device, non_blocking=True)
            safe = values.masked_fill(~query[..., None], 0.0)
            mean = safe.sum(1) / query.to(values.dtype).sum(1, keepdim=True).clamp_min(1)
            scores["text_similarity"] = text_similarity(features, mean[rows])
        if "text_features" in needs:
            assert self._query is not None  # found at the language model's entry
            scores["text_features"] = picked(values, rows, text_columns(self._query).to(device)[rows])
        if "concurrent_retention" in needs:
            companion = step.mechanism.companion
            scores["concurrent_retention"] = concurrent_retention(
                track, None if companion is None else self.tracks.get(companion)
            )
        return scores

    # --- shared ---

    @staticmethod
    def _features(track: Track, values: Tensor) -> Tensor:
        """(B, N, D) of the track's tokens, from the sequences' (rows, L, D)."""
        index = track.batch_row[:, None] * values.shape[1] + track.place.clamp_min(0)
        flat = values.reshape(-1, values.shape[-1])
        out = flat.index_select(0, index.view(-1).to(values.device, non_blocking=True)).view(*index.shape, -1)
        return out.masked_fill(~track.valid[..., None], 0.0)

    @staticmethod
    def _write(track: Track, values: Tensor, features: Tensor, reduction: Reduction) -> Tensor:
        """Put survivors' features, of the tokens' (B, N, D), at their columns of the current sequence."""
        if reduction.is_selection:
            return values
        out = values.clone(memory_format=torch.contiguous_format)
        survivors = reduction.apply(features).reshape(-1, values.shape[-1])
        real = track.there.view(-1).nonzero()[:, 0].to(values.device, non_blocking=True)
        places = track.flat(values.shape[1]).to(values.device, non_blocking=True)
        out.view(-1, out.shape[-1]).index_copy_(0, places, survivors[real].to(values.dtype))
        return out
