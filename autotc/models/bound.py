"""An adapter and the configuration of one model, together: what every caller but the families themselves works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.mechanisms import MechanismBase, Score
from autotc.models import validation
from autotc.models.adapter import Adapter
from autotc.models.fingerprint import config_fingerprint
from autotc.models.geometry import Item, Media
from autotc.models.media import Shrink
from autotc.models.shapes import DecoderShape, TowerShape
from autotc.policy import ModelReference, Policy
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class BoundAdapter:
    """A family's adapter with the configuration of one of its models.

    Methods of the same name in `Adapter` say what each is; here the configuration is not handed in. `bind` makes one
    of a model, `find_checkpoint` of a name.

    Attributes:
        adapter: of the family.
        config: of the model.
        architecture: class of the model in transformers.
    """

    adapter: Adapter
    config: PreTrainedConfig
    architecture: str

    # --- what the model is ---

    @property
    def family(self) -> str:
        """Short name of the family."""
        return self.adapter.family

    @cached_property
    def depths(self) -> Depths:
        """Layers of decoder and towers."""
        return replace(self.adapter.depths(self.config), family=self.family)

    @cached_property
    def decoder(self) -> DecoderShape:
        """Dimensions of the language model."""
        return self.adapter.decoder_shape(self.config)

    def tower(self, modality: Modality) -> TowerShape:
        """Dimensions of a modality's tower."""
        return self.adapter.tower_shape(self.config, modality)

    @cached_property
    def fingerprint(self) -> str:
        """``sha256:`` over the structural fields of the configuration."""
        return config_fingerprint(self.config, self.adapter.structural)

    @property
    def reference(self) -> ModelReference:
        """Architecture and fingerprint, as a policy states them."""
        return ModelReference(architecture=self.architecture, fingerprint=self.fingerprint)

    # --- what may stand where ---

    @property
    def offers(self) -> Mapping[Modality, tuple[Location, ...]]:
        """Modality -> locations where stages may act on this model."""
        return self.adapter.offers(self.config)

    def scores(self, modality: Modality, location: Location) -> frozenset[Score]:
        """Scores that exist at a location."""
        return self.adapter.scores(self.config, modality, location)

    def refusal(
        self, mechanism: MechanismBase | type[MechanismBase], modality: Modality, location: Location
    ) -> validation.Refusal | None:
        """Why a mechanism cannot act on a modality at a location of this model; None where it can."""
        return validation.placement_refusal(self, mechanism, modality, location)

    def placements(self, mechanism: MechanismBase | type[MechanismBase]) -> list[tuple[Modality, Location]]:
        """Every modality and location of this model where a mechanism can act, in the model's order."""
        return [
            (modality, location)
            for modality, locations in self.offers.items()
            for location in locations
            if location in mechanism.locations
            and modality in mechanism.modalities
            and self.refusal(mechanism, modality, location) is None
        ]

    def validate(self, policy: Policy) -> None:
        """Check that a policy is for this model and fits its depth.

        Raises:
            PolicyError: naming field, value and what would be right.
        """
        validation.validate(self, policy)

    # --- geometry ---

    def geometry(self, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        """Items of one call of a feature method, or of the whole model."""
        return self.adapter.geometry(self.config, modality, arguments)

    def shrink(self, items: Sequence[Item], stage: Shrink) -> list[Item]:
        """Items of a request as an input stage leaves them."""
        return self.adapter.shrink(self.config, items, stage)

    def segments(self, item: Item, block: int) -> Sequence[Tensor]:
        """Units that attend to each other in a block of the tower."""
        return self.adapter.segments(self.config, item, block)

    def spare_rows(self, item: Item, block: int) -> Sequence[int]:
        """Rows of each of `segments` that belong to no unit."""
        return self.adapter.spare_rows(self.config, item, block)

    def unit_rows(self, modality: Modality, items: Sequence[Item]) -> Tensor:
        """(units, unit) long: rows of the tower's sequence that make up each unit."""
        return self.adapter.unit_rows(self.config, modality, items)

    def class_rows(self, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        """(tiles,) long: rows of the tower's class tokens; None where it has none."""
        return self.adapter.class_rows(self.config, modality, items)

    # --- FLOPs that no layer accounts for ---

    def stem_flops(self, item: Item) -> int:
        """FLOPs before the first block on one item."""
        return self.adapter.stem_flops(self.config, item)

    def projector_flops(self, item: Item) -> int:
        """FLOPs after the last block on one item."""
        return self.adapter.projector_flops(self.config, item)

    # --- places in the model ---

    def score_block(self, modality: Modality, need: Score) -> int:
        """Block of the tower that a projector stage's scores come from."""
        return self.adapter.score_block(self.config, modality, need)

    def expand_at(self, modality: Modality) -> tuple[int, ...]:
        """Blocks behind which the rows return to their original number, holes marked."""
        return self.adapter.expand_at(self.config, modality)

    def deepstack(self, modality: Modality) -> tuple[int, ...]:
        """Blocks whose projected outputs are added to the tokens behind the first decoder layers, if any."""
        return self.adapter.deepstack(self.config, modality)

    @property
    def windows(self) -> Sequence[int | None]:
        """Sliding window of each decoder layer in tokens; None where a token sees all before it."""
        return self.adapter.windows(self.config)

    def blocks_seen_whole(self, arguments: Mapping[str, Any]) -> Tensor | None:
        """(B, L) long: tokens of one block see each other in both directions, -1 for none; None without."""
        return self.adapter.blocks_seen_whole(self.config, arguments)

    # --- the prompt ---

    @property
    def placeholders(self) -> Mapping[Modality, int]:
        """Modality -> id of its placeholder token."""
        return self.adapter.placeholders(self.config)

    @property
    def chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Ids that open the user's turn, that close it, and those of the template inside it."""
        return self.adapter.chat(self.config)

    def query_mask(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, L) bool: text of the last user turn, without template tokens and placeholders."""
        return self.adapter.query_mask(self.config, input_ids, attention_mask)

    def random_media(self, modality: Modality, tokens: int, generator: torch.Generator) -> Media:
        """Media of about so many tokens."""
        return self.adapter.random_media(self.config, modality, tokens, generator)
