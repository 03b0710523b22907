"""Sequences that lost columns: gathering, and masks for layers whose keys are not those of the layer before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask

from autotc.errors import InputsError

_MASK_ARGUMENTS = inspect.signature(inspect.unwrap(create_causal_mask)).parameters
CACHE = "cache" if "cache" in _MASK_ARGUMENTS else "past_key_values"
"""Argument and output that hold keys and values: transformers 5.24 renamed them, and still takes the old name."""


@dataclass
class Columns:
    """Which columns of an earlier sequence are left, row by row. Worked out on the host.

    Attributes:
        index: (B, M) long, ascending; -1 pads on the left.
        size: length of the earlier sequence.
    """

    index: Tensor
    size: int
    _there: dict[torch.device, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Tensor) -> Columns:
        """From a mask (B, L) bool of the columns left."""
        count = kept.sum(1)
        width = int(count.max())
        column = kept.cumsum(1) - 1 + (width - count)[:, None]
        index = torch.full((kept.shape[0], width), -1, dtype=torch.long)
        row, source = kept.nonzero(as_tuple=True)
        index[row, column[row, source]] = source
        return cls(index, kept.shape[1])

    def then(self, later: Columns) -> Columns:
        """Columns of ``later`` in terms of this one's earlier sequence."""
        index = torch.where(later.index >= 0, self.index.gather(1, later.index.clamp_min(0)), -1)
        return Columns(index, self.size)

    @property
    def valid(self) -> Tensor:
        """(B, M) bool."""
        return self.index >= 0

    @property
    def full(self) -> bool:
        """Whether no row is padded."""
        return bool(self.valid.all())

    def on(self, device: torch.device) -> Tensor:
        """``index`` on a device, 0 on padding."""
        if device not in self._there:
            self._there[device] = self.index.clamp_min(0).to(device, non_blocking=True)
        return self._there[device]

    def gather(self, values: Tensor, dim: int = 1) -> Tensor:
        """Values of the columns left; ``values`` has the batch in the dimension before ``dim``, or a batch of 1."""
        index = self.on(values.device)
        batch = dim - 1
        if values.shape[batch] == 1 and index.shape[0] > 1:
            values = values.expand(*values.shape[:batch], index.shape[0], *values.shape[dim:])
        shape = [1] * values.dim()
        shape[batch], shape[dim] = index.shape
        target = list(values.shape)
        target[dim] = index.shape[1]
        return values.gather(dim, index.view(shape).expand(target))

    def positions(self, positions: Tensor) -> Tensor:
        """Position ids (..., B, L) -> (..., B, M)."""
        return self.gather(positions, positions.dim() - 1)


class LayerMasks:
    """Masks of layers that hold some columns of the prompt, in the form that the model's attention takes.

    transformers makes them, from a 2-D mask of the columns; what a model adds to causality (sliding windows, blocks
    that see each other in both directions) is told in positions of the uncompressed prompt.

    Args:
        config: of the language model.
        windows: sliding window of each layer, or None.
        valid: (B, L) bool on the host, the prompt's tokens.
        blocks: (B, L) long, tokens of the same block see each other in both directions; -1 for none. Or None.
    """

    def __init__(self, config: Any, windows: Sequence[int | None], valid: Tensor, blocks: Tensor | None) -> None:
        self._config, self._windows, self._valid, self._blocks = config, windows, valid, blocks
        self._made: dict[tuple[int, int | None, torch.device], tuple[Columns, Any]] = {}

    @property
    def special(self) -> bool:
        """Whether layers differ from plain causal attention, so that the model's own mask of what is left is wrong."""
        return self._blocks is not None or any(window is not None for window in self._windows)

    def forget(self) -> None:
        """A new forward begins."""
        self._made.clear()

    def check(self) -> None:
        """Refuse what the model's attention cannot be told.

        Raises:
            InputsError: flash attention counts a window in the tokens that it holds.
        """
        shortest = min((window for window in self._windows if window is not None), default=None)
        kind = str(getattr(self._config, "_attn_implementation", ""))
        if shortest is not None and "flash" in kind and self._valid.shape[1] > shortest:
            raise InputsError(
                f"attn_implementation: {kind} counts the sliding window of {shortest} in tokens left; this prompt has"
                f" {self._valid.shape[1]}: use sdpa or eager, or a prompt within the window"
            )

    def __call__(self, layer: int, columns: Columns, hidden: Tensor, cache: Any, tail: Tensor | None) -> Any:
        """The mask of one layer.

        Args:
            layer: its number.
            columns: of the prompt that it holds.
            hidden: (B, Q, D), what it is called with.
            cache: that already holds the columns, or None in prefill.
            tail: (B, additions) bool, validity of what was decoded since; None where all of it is valid.
        """
        window = self._windows[layer]
        key = (id(columns), window, hidden.device)
        if key not in self._made:
            self._made[key] = columns, self._make(layer, columns, hidden, cache, tail, window)
        return self._made[key][1]

    def _make(
        self, layer: int, columns: Columns, hidden: Tensor, cache: Any, tail: Tensor | None, window: int | None
    ) -> Any:
        device = hidden.device
        valid = columns.valid & self._valid.gather(1, columns.index.clamp_min(0))
        additions = 0 if cache is None else cache_length(cache, layer) + hidden.shape[1] - columns.index.shape[1]
        mask = None
        if tail is not None or not bool(valid.all()):
            after = torch.ones(len(valid), additions, dtype=torch.bool) if tail is None else tail
            mask = torch.cat([valid.to(device), after.to(device)], 1)
        later = torch.arange(columns.size, columns.size + additions).expand(len(valid), -1)
        original = torch.cat([columns.index, later], 1)
        return create_causal_mask(
            config=self._config,
            inputs_embeds=hidden,
            attention_mask=mask,
            layer_idx=layer,
            and_mask_function=None if window is None else _within(original.to(device), window),
            or_mask_function=self._both_ways(columns, additions, device),
            # Where there is padding transformers need not look for it, which would wait for the device.
            allow_is_causal_skip=mask is None,
            **{CACHE: cache},
        )

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


def leading_padding(valid: Tensor) -> Tensor:
    """(B, L) bool: padding before each row's first valid token; it goes when a row loses columns."""
    return valid.long().cumsum(1) == 0


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among a call's arguments, under either name; None without one."""
    found = arguments.get(CACHE)
    return arguments.get("past_key_values") if found is None else found


def cache_length(cache: Any, layer: int = 0) -> int:
    """Tokens a cache holds for a layer; 0 without a cache.

    Raises:
        InputsError: the cache has a fixed size, in which layers cannot differ in length.
    """
    if cache is None:
        return 0
    if getattr(cache, "is_compileable", False):
        raise InputsError(f"{CACHE}: a static cache cannot hold layers of different lengths; use a dynamic cache")
    return int(cache.get_seq_length(layer))
