"""One request: its prefill, and the decode steps on its cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autotc.errors import InputsError
from autotc.models import BoundAdapter
from autotc.runtime.cache import cache_length, given_cache
from autotc.runtime.columns import Columns
from autotc.runtime.deepstack import DeepStack
from autotc.runtime.layers import Call, DecoderLayers
from autotc.runtime.prefill import Prefill
from autotc.runtime.prompt import EncodedPrompt, PromptState
from autotc.runtime.steps import Steps
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality


class Request:
    """A request from the language model's entry on. What says where things stand is on the host.

    Args:
        bound, model: whose.
        steps: the policy's.
        prompt: what came before the language model.
    """

    def __init__(self, bound: BoundAdapter, model: nn.Module, steps: Steps, prompt: EncodedPrompt) -> None:
        self._bound, self._model, self._steps, self._prompt = bound, model, steps, prompt
        self._state: PromptState | None = None  # None for a prompt without media: nothing is done to it
        self._layers: DecoderLayers | None = None
        self._deepstack = DeepStack()
        self._decoding = False
        self._decoded: Tensor | None = None

    @property
    def tracks(self) -> dict[Modality, Track]:
        """Modality -> what became of its tokens."""
        return {} if self._state is None else self._state.tracks

    # --- prefill ---

    def prefill(self, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments without what holes and projector stages have removed; None to leave them."""
        if not self._prompt.items:
            return None
        prefill = Prefill(self._bound, self._model, self._steps, self._prompt, kwargs)
        self._state, self._deepstack = prefill.state, prefill.deepstack
        self._layers = DecoderLayers(self._bound.adapter, self._model, self._steps, self._state)
        return prefill.run()

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A layer's arguments on the tokens left; None to leave them."""
        if self._state is None or self._layers is None:
            return None
        if not self._decoding:
            return self._layers.before(index, args, kwargs)
        stored = self._state.stored[index]
        if stored is None:
            return None
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        mask = self._state.masks(index, stored, hidden, given_cache(kwargs), self._decoded)
        return args, kwargs | {"attention_mask": mask}

    def after_layer(self, index: int, output: Any) -> Any:
        """Add a layer's deep-stack features to what is left of the tokens they belong to."""
        return None if self._decoding else self._deepstack.add(index, output)

    def capture(self, index: int, part: str, output: Tensor) -> None:
        """Keep a layer's projected queries or keys, which a stage in front of the next layer reads."""
        if not self._decoding and self._layers is not None:
            self._layers.capture(index, part, output)

    # --- decode steps ---

    def _first(self) -> Columns | None:
        """Columns of the prompt that the first layer holds; None for all."""
        return None if self._state is None else self._state.stored[0]

    def only_new(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The model's arguments without tokens that its cache has seen; None where there are none.

        A caller that continues a conversation may pass all of it, and cuts off only as much as a shorter cache holds.
        """
        first, mask, positions = self._first(), arguments.get("attention_mask"), arguments.get("position_ids")
        tokens = next((arguments[k] for k in ("input_ids", "inputs_embeds") if arguments.get(k) is not None), None)
        if first is None or tokens is None or tokens.shape[1] == 1:
            return None
        length = tokens.shape[1]
        if isinstance(mask, Tensor) and mask.dim() == 2:
            total = mask.shape[1]
        elif isinstance(positions, Tensor):
            # generate() leaves an all-ones mask out; where nothing is padded, text positions count the tokens. With
            # M-RoPE they are the first of four rows, or, on a cache, the one row less the offset the media have made.
            text = positions if positions.dim() == 2 else positions[0]
            if positions.dim() == 3 and len(positions) != 4:
                base: Any = self._bound.adapter.base(self._model)
                text = text - base.rope_deltas
            total = int(text.max()) + 1
        else:
            return None
        new = total - self._length_before(first, given_cache(arguments))
        if not 0 < new < length:
            return None
        changed = dict(arguments)
        for name in ("input_ids", "position_ids", "token_type_ids", "mm_token_type_ids"):
            if isinstance(changed.get(name), Tensor) and changed[name].shape[-1] == length:
                changed[name] = changed[name][..., -new:]
        if changed.get("inputs_embeds") is not None:
            changed["inputs_embeds"] = changed["inputs_embeds"][:, -new:]
        return changed

    @staticmethod
    def _length_before(first: Columns, cache: Any) -> int:
        """Tokens that a cache stands for: those of the uncompressed prompt and those that were decoded since."""
        return first.size + cache_length(cache) - first.index.shape[1]

    def decode(self, arguments: Mapping[str, Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments in a step on the cache; None to leave them.

        Args:
            arguments: of the model's call.
            kwargs: of the language model's.
        """
        self._decoding = True
        if self._state is None or self._layers is None:
            return None
        self._layers.forget()
        size = next((columns.size for columns in self._state.stored if columns is not None), None)
        if size is None:
            return None
        self._state.masks.forget()
        self._decoded = self._decoded_mask(arguments, kwargs, size)
        first = self._first()
        if first is None:
            return None
        changed: dict[str, Any] = {}
        if kwargs.get("position_ids") is None:
            # The model would count from what its cache holds; positions go on from the uncompressed prompt.
            embeds = kwargs["inputs_embeds"]
            start = self._length_before(first, given_cache(kwargs))
            changed["position_ids"] = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
        # Every layer gets its own mask; the language model's own would be for another length.
        given = kwargs.get("attention_mask")
        changed["attention_mask"] = dict.fromkeys(given) if isinstance(given, dict) else None
        return kwargs | changed

    @staticmethod
    def _decoded_mask(arguments: Mapping[str, Any], kwargs: Mapping[str, Any], size: int) -> Tensor | None:
        """(B, additions) bool: what was added behind the prompt's ``size`` tokens and is no padding; None for all."""
        mask = kwargs.get("attention_mask")
        mask = mask if isinstance(mask, Tensor) else arguments.get("attention_mask")
        if not isinstance(mask, Tensor):
            return None
        if mask.dim() != 2:
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt and what was decoded")
        decoded = mask[:, size:].bool()
        return None if bool(decoded.all()) else decoded
