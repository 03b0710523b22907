"""The cache of a compressed conversation: what each layer of it holds, whatever is done to it.

Layers that hold different numbers of tokens are nothing that transformers knows. It asks a cache how many tokens it
has seen, to number and to slice what comes next; it rolls a cache back after rejected drafts, and picks and repeats its
rows in beam search. So a cache that a policy has filled answers in tokens of the uncompressed conversation, and what it
says about its layers goes along with all that is done to them, also when it is copied.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as remember
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask

from autotc.errors import InputsError
from autotc.policy import Policy
from autotc.runtime.columns import Columns

_MASK_ARGUMENTS = inspect.signature(inspect.unwrap(create_causal_mask)).parameters
CACHE = "cache" if "cache" in _MASK_ARGUMENTS else "past_key_values"
"""Argument and output that hold keys and values: transformers 5.24 renamed them, and still takes the old name."""
_CROPS_BY_LENGTH = "max_length" in inspect.signature(Cache.crop).parameters
"""Whether ``crop`` takes the length that is to be left, as it did until transformers 5.23."""


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among a call's arguments, under either name; None without one."""
    cache = arguments.get(CACHE)
    return arguments.get("past_key_values") if cache is None else cache


def cache_length(cache: Any, layer: int | None = None) -> int:
    """Tokens a cache holds for a layer (None: the first that has keys); 0 without a cache, or of a recurrent state.

    Raises:
        InputsError: the cache has a fixed size, in which layers cannot differ in length.
    """
    if cache is None:
        return 0
    if getattr(cache, "is_compileable", False):
        raise InputsError(f"{CACHE}: a static cache cannot hold layers of different lengths; use a dynamic cache")
    layers = getattr(cache, "layers", None)
    if layers is None:
        raise InputsError(f"{CACHE}: {type(cache).__name__} given; the policy needs a cache of transformers, by layers")
    if layer is None:
        layer = next((i for i, held in enumerate(layers) if hasattr(held, "get_seq_length")), 0)
    counted = layer < len(layers) and hasattr(layers[layer], "get_seq_length")
    return int(layers[layer].get_seq_length()) if counted else 0


@dataclass
class Held:
    """What the layers of a cache hold of a conversation.

    Attributes:
        policy: that it was filled under.
        columns: layer -> columns of the conversation as it was when media last came; None for all. What was decoded
            since is there in all layers.
        valid: (B, L) bool on the host, tokens of that conversation that are no padding; None where nothing asked yet.
    """

    policy: Policy
    columns: list[Columns | None]
    valid: Tensor | None = None

    def added(self, cache: Any) -> int:
        """Tokens that came behind ``columns``.

        Raises:
            InputsError: layers do not agree on it: something was done to them one by one.
        """
        lengths = {
            cache_length(cache, i) - columns.index.shape[1]
            for i, columns in enumerate(self.columns)
            if columns is not None and cache_length(cache, i)
        }
        if not lengths:
            # Only recurrent layers have lost tokens; those with keys hold all.
            size = next((columns.size for columns in self.columns if columns is not None), None)
            return 0 if size is None else max(0, cache_length(cache) - size)
        if len(lengths) > 1 or min(lengths) < 0:
            raise InputsError(
                f"{CACHE}: its layers no longer hold what the policy left in them; crop it by its own crop(), or"
                " prefill anew"
            )
        return lengths.pop()

    def length(self, cache: Any) -> int:
        """Tokens of the uncompressed conversation."""
        size = next((columns.size for columns in self.columns if columns is not None), None)
        return cache_length(cache) if size is None else size + self.added(cache)

    def crop(self, cache: Any, size: int) -> None:
        """Take the last tokens away, so that ``size`` tokens of the uncompressed conversation are left."""
        added, before = self.added(cache), self.length(cache)
        removed = [before - size] * len(cache.layers)
        if before - size > added:
            # Into what media have left: layers hold different numbers of the tokens that go.
            shorter = {id(columns): columns.cut(size) for columns in self.columns if columns is not None}
            for i, columns in enumerate(self.columns[: len(removed)]):
                if columns is not None:
                    removed[i] = added + columns.index.shape[1] - shorter[id(columns)].index.shape[1]
            self.columns[:] = [None if columns is None else shorter[id(columns)] for columns in self.columns]
        for layer, count in zip(cache.layers, removed, strict=True):
            if not hasattr(layer, "get_seq_length"):
                layer.crop(-count)
                continue
            layer.crop(layer.get_seq_length() - count if _CROPS_BY_LENGTH else -count)
        if self.valid is not None:
            self.valid = self.valid[:, :size]

    def select(self, rows: Tensor) -> None:
        """Keep some rows (R,) long, in their order."""
        if rows.dtype == torch.bool:
            rows = rows.nonzero()[:, 0]
        columns = [held for held in self.columns if held is not None]
        same = all(bool((held.index == held.index[:1]).all()) for held in columns)
        same = same and (self.valid is None or bool((self.valid == self.valid[:1]).all()))
        # Beams of one prompt are all alike: their order need not be brought from the device.
        host = torch.zeros(len(rows), dtype=torch.long) if same else rows.cpu()
        renewed = {id(held): held.rows(host) for held in columns}
        self.columns[:] = [None if held is None else renewed[id(held)] for held in self.columns]
        if self.valid is not None:
            self.valid = self.valid[host]


class CompressedCache(Cache):  # type: ignore[misc]
    """A cache whose layers hold what a policy has left; every cache that is filled under one becomes such a cache.

    Attributes:
        held: what its layers hold.
    """

    held: Held

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the uncompressed conversation."""
        return self.held.length(self)

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Tokens that one layer holds: what transformers makes masks from."""
        return cache_length(self, layer_idx if hasattr(self.layers[layer_idx], "get_seq_length") else None)

    def crop(self, tokens_to_remove: int) -> None:
        """Roll back: each layer by what it holds of the tokens that go."""
        length = self.get_seq_length()
        if tokens_to_remove > 0:
            if not _CROPS_BY_LENGTH:
                super().crop(tokens_to_remove)  # which refuses
            size = min(length, tokens_to_remove)
        else:
            size = length + tokens_to_remove
        self.held.crop(self, max(0, size))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order."""
        super().reorder_cache(beam_idx)
        self.held.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Some rows."""
        super().batch_select_indices(indices)
        self.held.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row several times."""
        super().batch_repeat_interleave(repeats)
        rows = next((len(held.index) for held in self.held.columns if held is not None), None)
        if rows is not None:
            self.held.select(torch.arange(rows).repeat_interleave(repeats))

    def reset(self) -> None:
        """Empty it; it can be filled anew."""
        super().reset()
        self.held = Held(self.held.policy, [None] * len(self.held.columns))

    def __reduce__(self) -> Any:
        return _restored, (type(self).__mro__[2], self.__dict__.copy())


@remember
def _compressed_class(cls: Any) -> Any:
    """The class of a user's cache with `CompressedCache` in front; it goes on under its own name."""
    return type(cls.__name__, (CompressedCache, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _restored(cls: Any, attributes: dict[str, Any]) -> Any:
    cache = cls.__new__(cls)
    cache.__dict__.update(attributes)
    cache.__class__ = _compressed_class(cls)
    return cache


def held_by(cache: Any) -> Held | None:
    """What a cache holds; None where no policy has filled it."""
    return cache.held if isinstance(cache, CompressedCache) else None


def fill(cache: Any, held: Held) -> None:
    """From now on a cache holds this."""
    if not isinstance(cache, CompressedCache):
        cls: Any = type(cache)
        cache.__class__ = _compressed_class(cls)
    cache.held = held
