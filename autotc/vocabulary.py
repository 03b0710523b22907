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
ItemScore = Literal["variety", "text_entropy", "attention_entropy", "text_information"]
"""What of an item is scored, one number each.

- ``variety`` (encoder, projector, decoder): 1 less the mean cosine of two of its tokens; reads no attention.
- ``text_entropy`` (projector, decoder): entropy of the softmax of its tokens' cosines to the query, divided by 0.1, as
  a share of the highest, log N; reads no attention.
- ``attention_entropy`` (encoder, projector, decoder): the same of the attention that its tokens receive: inside the
  tower from one another, behind it from the class token, in the decoder from the prompt's last token.
- ``text_information`` (decoder): mutual information of the query's tokens and the item's, in bits, of the attention
  that the first pay to the second, heads joined (AutoPrune, arXiv 2509.23931, `mutual_information` of the official
  code, which sums it over heads).
"""
ITEM_SCORES: tuple[ItemScore, ...] = get_args(ItemScore)


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
