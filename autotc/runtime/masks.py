"""Masks of layers whose keys are not those of the layer before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask

from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig
from autotc.models import BoundAdapter
from autotc.runtime.cache import CACHE, cache_length
from autotc.runtime.columns import Columns


class LayerMasks:
    """Masks of layers that hold some columns of the prompt, in the form that the model's attention takes.

    transformers makes them, from a 2-D mask of the columns; what a model adds to causality (sliding windows, blocks
    that see each other in both directions) is told in positions of the uncompressed prompt.

    A recurrent layer is told which of the tokens that it is called with are padding, which it keeps out of its state.

    Args:
        bound: of the model.
        valid: (B, L) bool on the host, the prompt's tokens.
        blocks: (B, L) long, tokens of the same block see each other in both directions; -1 for none. Or None.

    Attributes:
        valid: as given.
    """

    def __init__(self, bound: BoundAdapter, valid: Tensor, blocks: Tensor | None) -> None:
        self.valid = valid
        self._config: PreTrainedConfig = bound.config.get_text_config()
        self._windows, self._blocks, self._recurrent = bound.windows, blocks, frozenset(bound.depths.recurrent)
        self._blocks_within_windows = bound.adapter.blocks_within_windows
        self._made: dict[tuple[int, int | None, torch.device], tuple[Columns, Any]] = {}

    @property
    def special(self) -> bool:
        """Whether layers differ from plain causal attention, so that the model's own mask of what is left is wrong."""
        return self._blocks is not None or any(window is not None for window in self._windows)

    def check(self) -> None:
        """Refuse what the model's attention cannot be told.

        Raises:
            InputsError: flash attention counts a window in the tokens that it holds.
        """
        shortest = min((window for window in self._windows if window is not None), default=None)
        kind = str(getattr(self._config, "_attn_implementation", ""))
        if shortest is not None and "flash" in kind and self.valid.shape[1] > shortest:
            raise InputsError(
                f"attn_implementation: {kind} counts the sliding window of {shortest} in tokens left; this prompt has"
                f" {self.valid.shape[1]}: use sdpa or eager, or a prompt within the window"
            )

    def valid_at(self, columns: Columns) -> Tensor:
        """(B, M) bool on the host: columns that hold a token."""
        return columns.valid & self.valid.gather(1, columns.index.clamp_min(0))

    def __call__(self, layer: int, columns: Columns, hidden: Tensor, cache: Any, tail: Tensor | None) -> Any:
        """The mask of one layer.

        Args:
            layer: its number.
            columns: of the prompt that it holds.
            hidden: (B, Q, D), what it is called with.
            cache: that already holds the columns, those of this call left out; None in the first turn's prefill.
            tail: (B, additions) bool, validity of what was decoded since; None where all of it is valid.
        """
        if layer in self._recurrent:
            return self._of_recurrent(columns, hidden, cache)
        window, queries = self._windows[layer], hidden.shape[1]
        key = (id(columns), window, hidden.device)
        if key not in self._made:
            self._made[key] = columns, self._make(layer, columns, hidden, cache, tail, window)
        mask = self._made[key][1]
        # Layers that take their keys from an earlier one may run on the last tokens alone.
        fewer = isinstance(mask, Tensor) and mask.dim() == 4 and mask.shape[2] > queries
        return mask[:, :, -queries:] if fewer else mask

    def _make(
        self, layer: int, columns: Columns, hidden: Tensor, cache: Any, tail: Tensor | None, window: int | None
    ) -> Any:
        device = hidden.device
        valid = self.valid_at(columns)
        additions = 0 if cache is None else cache_length(cache, layer) + hidden.shape[1] - columns.index.shape[1]
        mask = None
        if tail is not None or not bool(valid.all()):
            after = torch.ones(len(valid), additions, dtype=torch.bool) if tail is None else tail
            mask = torch.cat([valid.to(device), after.to(device)], 1)
        later = torch.arange(columns.size, columns.size + additions).expand(len(valid), -1)
        original = torch.cat([columns.index, later], 1)
        blind = self._blocks_within_windows and window is None
        return create_causal_mask(
            config=self._config,
            inputs_embeds=hidden,
            attention_mask=mask,
            layer_idx=layer,
            and_mask_function=None if window is None else _within(original.to(device), window),
            or_mask_function=None if blind else self._both_ways(columns, additions, device),
            # Where there is padding transformers need not look for it, which would wait for the device.
            allow_is_causal_skip=mask is None,
            **{CACHE: cache},
        )

    def _of_recurrent(self, columns: Columns, hidden: Tensor, cache: object) -> Tensor | None:
        """(B, Q) long: which tokens of a prompt a recurrent layer is to take in; None for all.

        Raises:
            InputsError: the state that earlier turns have left would pass through padding, which changes it.
        """
        valid = self.valid_at(columns)[:, -hidden.shape[1] :]
        if bool(valid.all()):
            return None
        if cache is not None:
            raise InputsError(
                f"{CACHE}: rows of a later turn differ in length, or in the media tokens that they keep, and a"
                " recurrent layer cannot pass over the difference; give each row a call of its own"
            )
        return valid.to(hidden.device, torch.long)

    def _both_ways(self, columns: Columns, additions: int, device: torch.device) -> Callable[..., Any] | None:
        if self._blocks is None:
            return None
        block = torch.where(columns.valid, self._blocks.gather(1, columns.index.clamp_min(0)), -1)
        blocks = torch.nn.functional.pad(block, (0, additions), value=-1).to(device)

        def same(batch: Any, head: Any, query: Any, key: Any) -> Any:
            return (blocks[batch, query] == blocks[batch, key]) & (blocks[batch, query] >= 0)

        return same


def _within(original: Tensor, window: int) -> Callable[..., Any]:
    def near(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return original[batch, query] - original[batch, key] < window

    return near
