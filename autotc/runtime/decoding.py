"""A call of the language model on a cache without new media: decoding, drafts to be verified, a turn of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autotc.errors import InputsError
from autotc.models import BoundAdapter
from autotc.runtime.cache import CACHE, Held, given_cache
from autotc.runtime.layers import Call
from autotc.runtime.masks import LayerMasks


class Decoding:
    """New tokens behind what a cache holds, which need just a mask of it in each layer.

    Args:
        bound: of the model.
        held: by the cache.
    """

    def __init__(self, bound: BoundAdapter, held: Held) -> None:
        self._bound, self._held = bound, held
        self._masks: LayerMasks | None = None
        self._tail: Tensor | None = None

    def enter(self, arguments: Mapping[str, Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The language model's arguments; None to leave them.

        Args:
            arguments: of the model's call.
            kwargs: of the language model's.
        """
        held = next((columns for columns in self._held.columns if columns is not None), None)
        if held is None:
            return None
        rows = kwargs["inputs_embeds"].shape[0]
        if len(held.index) != rows:
            raise InputsError(
                f"{CACHE}: it holds {len(held.index)} rows, the call has {rows}; repeat and pick rows by the cache's"
                " own methods"
            )
        assert self._held.valid is not None  # found when media came
        self._masks = LayerMasks(self._bound, self._held.valid, None)
        self._tail = self._decoded_mask(arguments, kwargs, held.size)
        if self._held.columns[self._bound.decoder.attending[0]] is None:
            return None
        # Every layer gets its own mask; the language model's own would be for another length.
        given = kwargs.get("attention_mask")
        return kwargs | {"attention_mask": dict.fromkeys(given) if isinstance(given, dict) else None}

    @staticmethod
    def _decoded_mask(arguments: Mapping[str, Any], kwargs: Mapping[str, Any], size: int) -> Tensor | None:
        """(B, additions) bool: what came behind the ``size`` tokens and is no padding; None where all of it."""
        mask = kwargs.get("attention_mask")
        mask = mask if isinstance(mask, Tensor) else arguments.get("attention_mask")
        if not isinstance(mask, Tensor):
            return None
        if mask.dim() != 2:
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt and what was decoded")
        decoded = mask[:, size:].bool()
        return None if bool(decoded.all()) else decoded

    def before_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A layer's arguments with the mask of what it holds; None to leave them."""
        columns = self._held.columns[index]
        if self._masks is None:
            return None
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if index in self._bound.depths.recurrent:
            mask = None if self._tail is None else self._tail[:, -hidden.shape[1] :].long()
            return args, kwargs | {"attention_mask": mask}
        if columns is None:
            return None
        mask = self._masks(index, columns, hidden, given_cache(kwargs), self._tail)
        return args, kwargs | {"attention_mask": mask}

    def after_layer(self, index: int, output: Any) -> Any:
        """Nothing is added: deep-stack features belong to media."""
        return None

    def capture(self, index: int, part: str, output: Tensor) -> None:
        """Nothing is scored."""
