"""What the builders of tiny models and requests share: offline, no processor, no checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

USER, END = [2, 3], 4
"""Ids that open and close the user's turn."""
MARKS = {"user": USER, "end": END, "template": [0, 1]}


def installed_since(first: str) -> bool:
    """Whether the installed transformers is of a version or newer."""
    return Version(version("transformers")) >= Version(first)


@dataclass(frozen=True)
class Family:
    """How the tests speak to a family.

    Attributes:
        name: of the adapter.
        build: a model in eval mode.
        rows: batches of the exactness tests, one entry a row: modality -> shapes of its items.
        request: model inputs of such rows, left-padded.
        since: first transformers that its adapter takes; None for every one that autotc takes.
    """

    name: str
    build: Callable[[], nn.Module]
    rows: tuple[dict[str, Any], ...]
    request: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]
    since: str | None = None

    @property
    def known(self) -> bool:
        """Whether the installed transformers has it."""
        return self.since is None or installed_since(self.since)

    def holds(self, modality: str) -> bool:
        """Whether its rows have items of a modality: where a request has one of two, there is a family for each."""
        return any(modality in row for row in self.rows)


def seeded(build: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    model = build().eval()
    for parameter in model.parameters():
        # Default initialisations make attention nearly uniform; sharper weights make mistakes visible.
        if parameter.dim() > 1:
            parameter.data.mul_(3.0)
    return model


def padded(rows: Sequence[list[int]]) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def words(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 30, (length,), generator=generator) + 20).tolist()


TEXT_MODEL = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 63,
    "bos_token_id": 1,
}


def noise(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
