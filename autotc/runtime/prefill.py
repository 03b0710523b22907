"""The language model's entry with media: find the media in the prompt, drop holes, run projector stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import InputsError, MechanismError
from autotc.mechanisms import TEXT_SCORES, TOWER_SCORES, Score, Tokens
from autotc.models import BoundAdapter, Item
from autotc.runtime.columns import Columns
from autotc.runtime.context_scores import context_scores
from autotc.runtime.deepstack import DeepStack
from autotc.runtime.masks import LayerMasks
from autotc.runtime.prompt import EncodedPrompt, Past, PromptState, check_placeholders
from autotc.runtime.steps import Step, Steps
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality


class Prefill:
    """One prompt on its way into the language model.

    Args:
        bound, model: whose.
        steps: the policy's.
        prompt: what came before the language model; it has media.
        kwargs: of the language model's call.
        past: the turns that its cache holds; None in the first.

    Attributes:
        state: where the prompt's tokens stand.
        deepstack: features that are still to be added behind the first layers.

    Raises:
        InputsError: the arguments do not say where the media stand.
    """

    def __init__(
        self,
        bound: BoundAdapter,
        model: nn.Module,
        steps: Steps,
        prompt: EncodedPrompt,
        kwargs: dict[str, Any],
        past: Past | None,
    ) -> None:
        self._bound, self._model, self._steps, self._prompt = bound, model, steps, prompt
        self._kwargs = kwargs
        self._embeds: Tensor = kwargs["inputs_embeds"]
        ids = self._ids()
        if ids.shape != self._embeds.shape[:2]:
            raise InputsError(
                f"input_ids: {ids.shape[1]} tokens, the language model gets {self._embeds.shape[1]}; let the processor"
                " put a placeholder for each feature"
            )
        before = 0 if past is None else past.length
        everything = self._valid(before, ids)
        valid = everything[:, before:]
        depth = len(bound.adapter.layers(model))
        self.state = PromptState(
            valid=valid,
            scored=valid & (torch.arange(ids.shape[1]) < ids.shape[1] - prompt.drafts),
            query=self._query_mask(ids, valid),
            masks=LayerMasks(bound, everything, self._blocks(before)),
            here=[None] * depth,
            stored=[None] * depth,
            past=past,
        )
        # Modality -> columns (B, L) bool of all units that its items had, holes too.
        self._units: dict[Modality, Tensor] = {}
        self._order: dict[Modality, list[int]] = {}
        for modality, items in prompt.items.items():
            self._locate(modality, items, ids)
        self.deepstack = DeepStack()

    # --- what the call says ---

    def _valid(self, before: int, ids: Tensor) -> Tensor:
        """(B, before + L) bool on the host: tokens of the whole conversation that are no padding.

        The language model may be given a mask already made for each kind of layer; then the model's own says it.
        """
        mask = self._kwargs.get("attention_mask")
        if not isinstance(mask, Tensor):
            mask = self._prompt.arguments.get("attention_mask")
        rows, length = ids.shape[0], before + ids.shape[1]
        if not isinstance(mask, Tensor):
            return torch.ones(rows, length, dtype=torch.bool)
        if mask.dim() != 2:
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt")
        if mask.shape[1] != length:
            raise InputsError(
                f"attention_mask: {mask.shape[1]} columns; the policy needs {length}: of all tokens of the conversation"
            )
        return mask.cpu().bool()

    def _blocks(self, before: int) -> Tensor | None:
        """(B, before + L) long: blocks of the prompt that see each other in both directions, if any."""
        blocks, length = self._bound.blocks_seen_whole(self._prompt.arguments), self._embeds.shape[1]
        if blocks is None:
            return None
        if blocks.shape[1] < length:  # drafts of an assistant stand behind what the call says of its tokens
            blocks = torch.nn.functional.pad(blocks, (0, length - blocks.shape[1]), value=-1)
        if not before:
            return blocks
        return torch.nn.functional.pad(blocks[:, -length:], (before, 0), value=-1)

    def _ids(self) -> Tensor:
        """(B, L) long on the host: the prompt's ids; from its embeddings only placeholders are known, -1 elsewhere."""
        arguments = self._prompt.arguments
        if self._prompt.ids is not None:
            return self._prompt.ids
        if arguments.get("input_ids") is not None:
            ids: Tensor = arguments["input_ids"].cpu()
            return ids
        embeds = arguments.get("inputs_embeds")
        if embeds is None:
            raise InputsError("input_ids: missing; the policy needs them, or inputs_embeds, to find the media")
        table: Any = self._model
        ids = torch.full(embeds.shape[:2], -1, dtype=torch.long)
        placeholders = self._bound.placeholders
        for modality in self._prompt.items:
            token = torch.tensor([placeholders[modality]], device=embeds.device)
            matches = (embeds == table.get_input_embeddings()(token)).all(-1)
            ids[matches.cpu()] = placeholders[modality]
        return ids

    def _query_mask(self, ids: Tensor, valid: Tensor) -> Tensor | None:
        """(B, L) bool: the query span; None where no stage reads it. Drafts behind the prompt are none of it."""
        if not any(TEXT_SCORES & {*step.mechanism.needs} for step in self._steps):
            return None
        if bool((ids < 0).any()):
            needy = next(s for s in self._steps if TEXT_SCORES & {*s.mechanism.needs})
            raise InputsError(
                f"input_ids: missing; {needy.stage.mechanism} reads the query, which inputs_embeds do not tell"
            )
        length, drafts = ids.shape[1], self._prompt.drafts
        span = self._bound.query_mask(ids[:, : length - drafts], valid[:, : length - drafts])
        return torch.nn.functional.pad(span, (0, drafts))

    # --- where the media stand ---

    def _locate(self, modality: Modality, items: list[Item], ids: Tensor) -> None:
        """Find each item's placeholders in the prompt; with beams, rows repeat and so do items.

        Items come in the order of the rows, and in a row in the order of its placeholders, so they are handed out by
        counting: each row takes as many items as fill its placeholders exactly.
        """
        places = (ids == self._bound.placeholders[modality]).nonzero()
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
        track = tower.track if tower is not None else Track.start(items, self._embeds.device)
        if repeats > 1:
            track = track.repeated(order)
        units = torch.zeros(ids.shape, dtype=torch.bool)
        column = torch.full(track.ids.shape, -1, dtype=torch.long)
        first, rows = 0, []
        for i, item in enumerate(track.items):
            span = places[first : first + item.slots]
            first += item.slots
            # Of an item's placeholders some are structure (newlines of a grid); its offsets name those of units.
            unit_columns = span[item.offsets(), 1]
            rows.append(int(span[0, 0]))
            units[rows[-1], unit_columns] = True
            column[i] = torch.where(track.host_valid[i], unit_columns[track.ids[i].clamp_min(0)], -1)
        track.row, track.column = torch.tensor(rows), column
        self.state.tracks[modality] = track
        self._units[modality], self._order[modality] = units, order

    # --- what goes ---

    def run(self) -> dict[str, Any] | None:
        """The language model's arguments without what holes and projector stages have removed; None to leave them."""
        kwargs, state, embeds = self._kwargs, self.state, self._embeds
        values, removed = embeds, torch.zeros(state.valid.shape, dtype=torch.bool)
        for modality in self._companions_first(state.tracks):
            values = self._drop_holes(modality, values)
            values = self._project(modality, values)
            removed |= self._gone(modality)
        changed = self._take_deepstack(bool(removed.any()))
        given, compressed = kwargs.get("attention_mask"), state.past is not None and state.past.compressed
        if compressed:
            # Every layer gets a mask of its own: the language model would make one for what the first layer holds.
            state.masks.check()
            changed["attention_mask"] = dict.fromkeys(given) if isinstance(given, dict) else None
        if not bool(removed.any()):
            return kwargs | changed if changed else None
        state.masks.check()
        columns = state.enter(removed)
        if state.past is None:
            # A mask is always passed: without one, gaps in the positions would be taken for packed sequences. Where
            # the language model is given one for each kind of layer, each layer gets its own in place of them.
            left = state.valid.long().to(embeds.device, non_blocking=True)
            changed["attention_mask"] = dict.fromkeys(given) if isinstance(given, dict) else left
        else:
            changed["attention_mask"] = dict.fromkeys(given) if isinstance(given, dict) else None
        changed["inputs_embeds"] = columns.gather(values)
        if kwargs.get("per_layer_inputs") is not None:
            changed["per_layer_inputs"] = columns.gather(kwargs["per_layer_inputs"])
        changed["position_ids"] = self._positions(columns)
        return kwargs | changed

    def _positions(self, columns: Columns) -> Tensor:
        """Survivors keep the positions that they had in the uncompressed prompt, of one row or of M-RoPE's several."""
        positions = self._kwargs.get("position_ids")
        if positions is None:
            before = 0 if self.state.past is None else self.state.past.length
            length = self._embeds.shape[1]
            positions = torch.arange(before, before + length, device=self._embeds.device)[None]
        return columns.positions(positions)

    def _companions_first(self, modalities: Iterable[Modality]) -> list[Modality]:
        """The modalities, those whose fate guides another one's stages before the guided."""
        guided = {step.stage.modality for step in self._steps if step.mechanism.companion is not None}
        return sorted(modalities, key=lambda modality: modality in guided)

    def _gone(self, modality: Modality) -> Tensor:
        """(B, L) bool: columns of the modality's units that hold no token any more."""
        units = self._units[modality]
        gone = units.clone()
        gone.view(-1)[self.state.tracks[modality].flat(units.shape[1])] = False
        return gone

    def _drop_holes(self, modality: Modality, values: Tensor) -> Tensor:
        """The embeddings (B, L, D) with zeros for holes, once they are just where the tower has made them.

        Raises:
            MechanismError: they are not: something between tower and language model has moved or filled rows.
        """
        track, tower = self.state.tracks[modality], self._prompt.towers.get(modality)
        track.move_to(values.device)
        if tower is None or tower.whole:
            return values
        gone = self._gone(modality)
        expected = gone.to(values.device, non_blocking=True)
        if not tower.marked:
            return values.masked_fill(expected[..., None], 0.0)
        holes = torch.isnan(values).any(-1)
        if not torch.equal(holes & self._units[modality].to(values.device), expected):
            raise MechanismError(
                f"{modality}: {int(holes.sum())} holes reached the language model, {int(gone.sum())} were made"
            )
        return values.masked_fill(expected[..., None], 0.0)

    def _project(self, modality: Modality, values: Tensor) -> Tensor:
        """Run the modality's projector stages; returns the embeddings (B, L, D) with survivors in place."""
        track = self.state.tracks[modality]
        if any("concurrent_cosine" in s.mechanism.needs and s.mechanism.companion == modality for s in self._steps):
            with self._steps.scoring():
                track.note_joints(values)
        for step in self._steps.at("projector", modality):
            seen = None
            if self._steps.unrated(track, step):
                seen = self._look(track, step, values)
                self._steps.rate(track, step, *seen)
            targets = self._steps.budget(track, step)
            if targets is None:
                continue
            tokens, scores = self._look(track, step, values) if seen is None else seen
            with self._steps.scoring():
                reduction = self._steps.run(step, tokens, targets, scores)
            self._steps.done(step, tokens, scores, reduction)
            track.advance(reduction, tokens)
            values = track.put_survivors(values, tokens.features, reduction)
        return values

    def _look(self, track: Track, step: Step, values: Tensor) -> tuple[Tokens, dict[Score, Tensor]]:
        """What a projector stage is given of the sequences (B, L, D): the track's tokens, and scores of them."""
        modality, features = step.stage.modality, track.features(values)
        with self._steps.scoring():
            scores = context_scores(self.state, track, step, features, values)
            for need in step.mechanism.needs:
                if need in TOWER_SCORES:
                    tower = self._prompt.towers[modality]  # followed because of this need
                    block = self._bound.score_block(modality, need)
                    scores[need] = tower.scored(block, need, track).to(values.device)
        return track.tokens(features), scores

    def _take_deepstack(self, removed: bool) -> dict[str, Any]:
        """Take over the features that the model would add behind its first layers, where tokens go or may go."""
        features = self._kwargs.get("deepstack_visual_embeds")
        if features is None or not (removed or self._steps.at("decoder")):
            return {}
        seen = torch.stack([units for modality, units in self._units.items() if modality != "audio"]).any(0)
        for modality, units in self._units.items():
            blocks = self._bound.deepstack(modality)
            if blocks:
                track = self.state.tracks[modality]
                original = Track.start(self._prompt.items[modality], torch.device("cpu")).ids
                self.deepstack.take(
                    track, units, seen, features, [self._levels(modality, block, original) for block in blocks]
                )
        return {"deepstack_visual_embeds": None}

    def _levels(self, modality: Modality, block: int, original: Tensor) -> tuple[int, Tensor]:
        """Reductions until behind a tower block, and the units (I, N) that were left there, in the track's order."""
        tower = self._prompt.towers.get(modality)
        since, ids = (0, original) if tower is None else tower.left_behind(block)
        return since, ids[self._order[modality]]
