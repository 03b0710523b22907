"""The model families that policies can be applied to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotc.models.registry import ADAPTERS


@dataclass(frozen=True)
class ModelFamily:
    """A family and what it offers.

    Attributes:
        family: its name.
        architectures: classes of transformers, the first one the family's own.
        locations: modality -> where stages may act.
        refused: modality -> location -> why none may act there.
    """

    family: str
    architectures: tuple[str, ...]
    locations: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, Mapping[str, str]]

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        return {
            "family": self.family,
            "architectures": list(self.architectures),
            "locations": {modality: list(places) for modality, places in self.locations.items()},
            "refused": {modality: dict(places) for modality, places in self.refused.items()},
        }


def models() -> tuple[ModelFamily, ...]:
    """The model families that policies can be applied to.

    Example:
        >>> [family.family for family in autotc.models() if "audio" in family.locations]  # doctest: +SKIP
        ['qwen2_5_omni', 'qwen2_audio', 'qwen3_omni']
    """
    return tuple(
        ModelFamily(
            family=adapter.family,
            architectures=tuple(adapter.architectures),
            locations={modality: tuple(places) for modality, places in adapter.locations.items()},
            refused={m: {str(at): why for at, why in places.items()} for m, places in adapter.refused.items()},
        )
        for adapter in ADAPTERS
    )
