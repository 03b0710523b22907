"""The cache of keys and values among a call's arguments, under the names that transformers gave it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers.masking_utils import create_causal_mask

from autotc.errors import InputsError

_MASK_ARGUMENTS = inspect.signature(inspect.unwrap(create_causal_mask)).parameters
CACHE = "cache" if "cache" in _MASK_ARGUMENTS else "past_key_values"
"""Argument and output that hold keys and values: transformers 5.24 renamed them, and still takes the old name."""


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among a call's arguments, under either name; None without one."""
    cache = arguments.get(CACHE)
    return arguments.get("past_key_values") if cache is None else cache


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
