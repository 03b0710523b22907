"""One request with what the language model makes of it: a prompt, or a turn of a conversation that brings media."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autotc.models import BoundAdapter
from autotc.policy import Policy
from autotc.runtime.cache import Held, cache_length, fill, given_cache
from autotc.runtime.columns import Columns
from autotc.runtime.deepstack import DeepStack
from autotc.runtime.layers import Call, DecoderLayers
from autotc.runtime.prefill import Prefill
from autotc.runtime.prompt import EncodedPrompt, Past, PromptState
from autotc.runtime.steps import Steps
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality


class Request:
    """A request from the language model's entry on. What says where things stand is on the host.

    Args:
        bound, model: whose.
        policy, steps: what is done to it.
        prompt: what came before the language model.
        held: what its cache holds already, of earlier turns; None in the first.
    """

    def __init__(
        self,
        bound: BoundAdapter,
        model: nn.Module,
        policy: Policy,
        steps: Steps,
        prompt: EncodedPrompt,
        held: Held | None,
    ) -> None:
        self._bound, self._model, self._steps, self._prompt = bound, model, steps, prompt
        self._state: PromptState | None = None  # None for a prompt without media: nothing is done to it
        self._layers: DecoderLayers | None = None
        self._deepstack = DeepStack()
        self._before = held
        depth = len(bound.adapter.layers(model))
        # Earlier turns are still what they were if this one fails; the cache is told layer by layer.
        self._held = Held(policy, [None] * depth if held is None else [*held.columns])

    @property
    def tracks(self) -> dict[Modality, Track]:
        """Modality -> what became of its tokens."""
        return {} if self._state is None else self._state.tracks

    @property
    def left(self) -> Columns | None:
        """Columns of the call's tokens that the last layer has, and logits with it; None for all."""
        return None if self._state is None else self._state.stored[-1]

    def enter(self, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments without what holes and projector stages have removed; None to leave them."""
        if not self._prompt.items:
            return None
        past = None
        if self._before is not None:
            length = self._before.length(given_cache(kwargs))
            # Layers that hold the same go on sharing it, and with it their masks.
            longer = {id(c): c.extended(length) for c in self._before.columns if c is not None}
            past = Past(length, [None if c is None else longer[id(c)] for c in self._before.columns])
        prefill = Prefill(self._bound, self._model, self._steps, self._prompt, kwargs, past)
        self._state, self._deepstack = prefill.state, prefill.deepstack
        self._held.valid = self._state.masks.valid
        self._layers = DecoderLayers(self._bound.adapter, self._model, self._steps, self._state)
        return prefill.run()

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A layer's arguments on the tokens left; None to leave them."""
        changed = None
        if self._state is not None and self._layers is not None:
            changed = self._layers.before(index, args, kwargs)
            self._held.columns[index] = self._state.keys(index)
        cache = given_cache(kwargs)
        if index == 0 and cache is not None:
            cache_length(cache)  # refuses what cannot hold layers of different lengths
            fill(cache, self._held)
        return changed

    def after_layer(self, index: int, output: Any) -> Any:
        """Add a layer's deep-stack features to what is left of the tokens they belong to."""
        return self._deepstack.add(index, output)

    def capture(self, index: int, part: str, output: Tensor) -> None:
        """Keep a layer's projected queries or keys, which a stage in front of the next layer reads."""
        if self._layers is not None:
            self._layers.capture(index, part, output)
