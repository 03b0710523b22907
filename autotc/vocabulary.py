"""The words that everything else is said in: modalities, groups of them, locations, families, splits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast, get_args

Modality = Literal["image", "video", "audio"]
Location = Literal["input", "encoder", "projector", "decoder"]
Family = Literal["control", "transformation", "similarity", "attention", "query"]
Split = Literal["search", "val", "test"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
LOCATIONS: tuple[Location, ...] = get_args(Location)
FAMILIES: tuple[Family, ...] = get_args(Family)
SPLITS: tuple[Split, ...] = get_args(Split)
LOCATION_ORDER: dict[Location, int] = {location: depth for depth, location in enumerate(LOCATIONS)}
"""Location -> its place in the order in which a request passes them."""


class Group(str):
    """The modalities that a sample holds, as results and files write it: ``image``, or ``image+audio``."""

    __slots__ = ()

    @classmethod
    def of(cls, modalities: Iterable[str]) -> Group:
        """The group of samples that hold these modalities."""
        return cls("+".join(modalities))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Its modalities, in order."""
        return cast("tuple[Modality, ...]", tuple(self.split("+")))

    @property
    def is_pure(self) -> bool:
        """Whether its samples hold one modality alone."""
        return len(self.modalities) == 1

    def holds(self, modality: str) -> bool:
        """Whether its samples hold a modality."""
        return modality in self.modalities
