"""Conversations of two turns on one cache, for every family: what the turns are, and the whole of it in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autotc.models import find_adapter
from autotc.runtime.cache import CACHE

from .building import words
from .families import Family

BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Inputs with a column for each token."""
BY_ROW = ("smolvlm", "idefics3")
"""Families whose pictures have a dimension for the row of the batch, and one for its pictures."""
BY_PATCH = ("minicpmv4_6", "minicpmv4_7")
"""Families whose pictures stand side by side, all patches of a batch in one line."""


@dataclass(frozen=True)
class Conversation:
    """Two turns of one row.

    Attributes:
        first, second: inputs of each turn, of its own tokens and media.
        whole: inputs of both in one call.
    """

    first: dict[str, Any]
    second: dict[str, Any]
    whole: dict[str, Any]

    @property
    def length(self) -> int:
        """Tokens of the first turn."""
        return int(self.first["input_ids"].shape[1])

    def go_on(self, cache: Any, positions: Tensor | None) -> dict[str, Any]:
        """The model's arguments in the second turn on a cache.

        Args:
            cache: of the first turn.
            positions: of the whole conversation at the language model, where the model cannot count them on a cache.
        """
        out = {**self.second, "attention_mask": self.whole["attention_mask"], CACHE: cache}
        if positions is not None:
            out["position_ids"] = positions[..., self.length :]
        return out


def conversation(family: Family, media_first: bool = True) -> Conversation:
    """The family's first row as a turn, and after it a turn with other media.

    Args:
        family: whose.
        media_first: whether the first turn has media; else it is text.
    """
    row = family.rows[0]
    opening = row if media_first else {"seed": row["seed"], "text": 5}
    first, second = family.request([opening]), family.request([row | {"seed": row["seed"] + 40, "text": 6}])
    # The reply to the first turn.
    reply = torch.tensor([words(row["seed"] + 70, 3)])
    for key in BY_TOKEN:
        if key in first:
            more = {"input_ids": reply, "attention_mask": torch.ones_like(reply)}.get(key, torch.zeros_like(reply))
            first[key] = torch.cat([first[key], more.to(first[key].dtype)], 1)
    whole = {}
    for key in {**first, **second}:
        parts = [turn[key] for turn in (first, second) if key in turn]
        by_picture = family.name in BY_ROW and key not in BY_TOKEN
        packed = family.name in BY_PATCH and key.startswith("pixel_values")
        whole[key] = torch.cat(parts, 3 if packed else 1 if key in BY_TOKEN or by_picture else 0)
    return Conversation(first, second, whole)


def media_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that are no tokens."""
    return {key: value for key, value in inputs.items() if key not in BY_TOKEN}


def positions(family: Family, inputs: dict[str, Any]) -> Tensor | None:
    """Position ids of M-RoPE that the language model gets; None where a family counts tokens."""
    caught: dict[str, Any] = {}

    def catch(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        caught.update(kwargs)

    model: Any = family.build()
    hook = find_adapter(model).language_model(model).register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        hook.remove()
    found = caught.get("position_ids")
    return found if isinstance(found, Tensor) and found.dim() == 3 else None
