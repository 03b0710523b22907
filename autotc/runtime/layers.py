"""Decoder layers in prefill: run the stages in front of them, and call them on the tokens left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autotc.mechanisms import BLOCK_SCORES, LAYER_SCORES, TEXT_SCORES, Score, Tokens
from autotc.models import Adapter
from autotc.runtime.cache import given_cache
from autotc.runtime.columns import Columns, gather_columns, query_columns
from autotc.runtime.context_scores import context_scores
from autotc.runtime.layer_scores import LayerScores
from autotc.runtime.prompt import PromptState
from autotc.runtime.steps import Step, Steps
from autotc.runtime.tracks import Track

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of a module."""


class DecoderLayers:
    """The layers of one prefill, one after the other.

    Args:
        adapter, model: whose.
        steps: the policy's.
        state: where the prompt's tokens stand.
    """

    def __init__(self, adapter: Adapter, model: nn.Module, steps: Steps, state: PromptState) -> None:
        self._adapter, self._model, self._steps, self._state = adapter, model, steps, state
        # Layers in front of which hidden states are kept, for stages that read what a layer has made of them.
        self._shift_from = {s.layer - 1 for s in steps.at("decoder") if BLOCK_SCORES & {*s.mechanism.needs}}
        # What the layer before has left for a stage that reads its scores: never more than one layer's.
        self._before: dict[int, Tensor] = {}
        self._captured: dict[tuple[int, str], Tensor] = {}
        self._rotary: dict[int, Any] = {}
        self._gathered: tuple[Any, Columns, Any] | None = None
        before = 0 if state.past is None else state.past.length
        self._everything = Columns.all(len(state.valid), before + state.valid.shape[1])

    def before(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A layer's arguments on the tokens left; None to leave them."""
        state = self._state
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        for step in self._steps.at("decoder", layer=index):
            track = state.tracks.get(step.stage.modality)
            if track is not None:
                hidden = self._reduce(track, step, index, hidden, kwargs)
        here, keys = state.here[index], state.keys(index)
        # generate() runs layers that take their keys from earlier ones on the last tokens alone.
        length = state.valid.shape[1]
        last = hidden.shape[1] if hidden.shape[1] < length else None
        if index in self._shift_from:
            self._before = {index: hidden}
        rotary = kwargs["position_embeddings"]
        if here is not None and last is None:
            rotary = self._rotary_of(rotary, here)
        self._rotary = {index: rotary}
        # A layer that gets all that the language model got has the mask that was made for just that, but for a past.
        goes_on = state.past is not None
        if keys is None and state.past is not None and state.past.compressed:
            keys = self._everything  # the language model was given no mask, which would be of layers that hold less
        if keys is None or (here is None and not state.masks.special and not goes_on):
            return None
        changed = kwargs | {"position_embeddings": rotary}
        whole = hidden if last is None else hidden[:, :1].expand(-1, length, -1)
        changed["attention_mask"] = state.masks(index, keys, whole, given_cache(kwargs) if goes_on else None, None)
        if last is not None and isinstance(changed["attention_mask"], Tensor):
            changed["attention_mask"] = changed["attention_mask"][:, :, -last:]
        if here is not None and kwargs.get("position_ids") is not None:
            changed["position_ids"] = here.positions(kwargs["position_ids"])
        if "hidden_states" in changed:
            changed["hidden_states"] = hidden
        if not args:
            return args, changed
        # What a layer gets for each token beside its hidden state: embeddings of its own.
        more = [here.gather(arg) if here is not None and last is None and arg is not None else arg for arg in args[1:]]
        return (hidden, *more), changed

    def capture(self, index: int, part: str, output: Tensor) -> None:
        """Keep a layer's projected queries, keys or values (B, L, heads x D)."""
        self._captured[index, part] = output

    def forget(self) -> None:
        """Let go of what was kept between layers: prefill is over."""
        self._captured, self._rotary, self._before = {}, {}, {}

    def _rotary_of(self, rotary: Any, columns: Columns) -> Any:
        """Position embeddings of the columns left; layers that share both share the result."""
        if self._gathered is None or self._gathered[0] is not rotary or self._gathered[1] is not columns:
            self._gathered = rotary, columns, tuple(columns.gather(part) for part in rotary)
        return self._gathered[2]

    def _reduce(self, track: Track, step: Step, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """The hidden states (B, L, D) that are left in front of a layer after a stage."""
        seen = None
        if self._steps.unrated(track, step):
            seen = self._look(track, step, index, hidden, kwargs)
            self._steps.rate(track, step, *seen)
        targets = self._steps.budget(track, step)
        if targets is None:
            return hidden
        state = self._state
        state.masks.check()
        tokens, scores = self._look(track, step, index, hidden, kwargs) if seen is None else seen
        # All columns but the modality's tokens; its survivors come back in below, at columns that they keep.
        kept = torch.ones(hidden.shape[:2], dtype=torch.bool)
        kept.view(-1)[track.flat(hidden.shape[1])] = False
        with self._steps.scoring():
            reduction = self._steps.run(step, tokens, targets, scores)
        self._steps.done(step, tokens, scores, reduction)
        if reduction.is_selection and reduction.counts == track.lengths:
            return hidden
        track.advance(reduction, tokens)
        hidden = track.put_survivors(hidden, tokens.features, reduction)
        kept.view(-1)[track.flat(hidden.shape[1])] = True
        left = state.lose(index, kept)
        # A second stage in front of the same layer reads the layer before too, of the tokens that are left by then.
        self._captured = {k: left.gather(v) for k, v in self._captured.items() if k[0] == index - 1}
        self._rotary = {k: tuple(left.gather(part) for part in v) for k, v in self._rotary.items()}
        self._before = {k: left.gather(v) for k, v in self._before.items()}
        return left.gather(hidden)

    # --- scores ---

    def _look(
        self, track: Track, step: Step, index: int, hidden: Tensor, kwargs: dict[str, Any]
    ) -> tuple[Tokens, dict[Score, Tensor]]:
        """What a stage is given in front of a layer: the track's tokens, and scores of them."""
        track.move_to(hidden.device)
        features = track.features(hidden)
        with self._steps.scoring():
            scores = self._scores(track, step, index, hidden, features, kwargs)
        return track.tokens(features), scores

    def _scores(
        self, track: Track, step: Step, index: int, hidden: Tensor, features: Tensor, kwargs: dict[str, Any]
    ) -> dict[Score, Tensor]:
        """What a step's mechanism asks for, of the track's tokens."""
        state = self._state
        scores = context_scores(state, track, step, features, hidden)
        needs = step.mechanism.needs
        if BLOCK_SCORES & {*needs}:
            before = self._before[index - 1].to(hidden.device)
            if "representation_shift" in needs:
                shift = (hidden - before).float().norm(dim=-1)
                scores["representation_shift"] = track.features(shift[..., None])[..., 0]
            if "features_before" in needs:
                scores["features_before"] = track.features(before)
        of_layer = [need for need in needs if need in LAYER_SCORES]
        if not of_layer:
            return scores
        layer = self._layer_of(step, index, hidden, kwargs)
        for need in of_layer:
            score: Callable[..., Tensor] = getattr(layer, need)
            if need in TEXT_SCORES:
                assert state.query is not None  # found at the language model's entry
                value = score(track, query_columns(state.query))
            else:
                value = score(track)
            scores[need] = value.to(hidden.device)
        return scores

    def _layer_of(self, step: Step, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> LayerScores:
        """The layer that a step's scores come from: the one before, as it ran, or its own, projected here."""
        adapter, own = self._adapter, step.mechanism.score_source == "own"
        module = adapter.layers(self._model)[index if own else index - 1]
        projections = adapter.layer_projections(module)
        with_values = bool({"values", "text_values"} & {*step.mechanism.needs})
        if own:
            normed = adapter.layer_norm(module)(hidden)
            key = projections.key(normed)
            value = projections.value(normed) if with_values and projections.value is not None else None
            rotary, here = kwargs["position_embeddings"], self._state.here[index]
            if here is not None:
                rotary = self._rotary_of(rotary, here)

            def query(rows: Tensor, at: Tensor) -> Tensor:
                projected: Tensor = projections.query(gather_columns(normed, rows, at))
                return projected
        else:
            key = self._captured[index - 1, "key"]
            value = self._captured[index - 1, "value"] if with_values else None
            captured = self._captured[index - 1, "query"]
            rotary = self._rotary[index - 1]

            def query(rows: Tensor, at: Tensor) -> Tensor:
                return gather_columns(captured, rows, at)

        heads = step.mechanism.head_reduction
        past = self._past_keys(index if own else index - 1, given_cache(kwargs))
        return LayerScores(projections, query, key, rotary, self._state.scored, heads, past, value)

    def _past_keys(self, layer: int, cache: Any) -> tuple[Tensor, Tensor] | None:
        """Keys (B, G, P, D), rotary applied, that a layer holds of earlier turns, and which are real (B, P) bool.

        None in the first turn, and where a window has let them go.
        """
        past = self._state.past
        if past is None or getattr(cache.layers[layer], "is_sliding", False):
            return None
        held = past.columns[layer]
        held = Columns.all(len(self._state.valid), past.length) if held is None else held.extended(past.length)
        valid = self._state.masks.valid_at(held)
        keys: Tensor = cache.layers[layer].keys[:, :, : valid.shape[1]]
        return keys, valid
