"""The contract of a model family: names of things, and shapes. No hook, no score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.mechanisms import SCORES_AT, Score
from autotc.models.geometry import Item, Media
from autotc.models.media import Medium, Prepared, Shrink
from autotc.models.shapes import DecoderShape, Projections, TowerShape
from autotc.vocabulary import LOCATIONS, Location, Modality


class Adapter(ABC):
    """One model family. Stateless; one instance serves every model of the family.

    Class attributes:
        family: short name.
        architectures: class names in transformers.
        refused: modality -> location where no stage may act -> why.
        structural: configuration fields, dotted, that the fingerprint covers.
        processors: class names of its processors in transformers.
        since: first version of transformers that the family works with, where that is not autotc's own.
        blocks_within_windows: whether tokens see each other in both directions in layers with a window alone.
        video_as_images: whether a video's feature method calls the one for images.
        containers: class of a checkpoint that holds the model as a part -> the part's name.
    """

    family: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]]
    since: ClassVar[str | None] = None
    blocks_within_windows: ClassVar[bool] = False
    video_as_images: ClassVar[bool] = False
    containers: ClassVar[Mapping[str, str]] = {}
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {}
    structural: ClassVar[tuple[str, ...]]
    processors: ClassVar[tuple[str, ...]]

    @property
    def locations(self) -> Mapping[Modality, tuple[Location, ...]]:
        """Modality -> locations where stages may act."""
        return {
            modality: tuple(place for place in LOCATIONS if place not in self.refused.get(modality, {}))
            for modality in self.shape_inputs()
        }

    @abstractmethod
    def depths(self, config: PreTrainedConfig) -> Depths:
        """Layers of decoder and towers."""

    @abstractmethod
    def decoder_shape(self, config: PreTrainedConfig) -> DecoderShape:
        """Dimensions of the language model."""

    @abstractmethod
    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        """Dimensions of a modality's tower."""

    @abstractmethod
    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        """FLOPs before the first block (patch embedding, convolutions) on one item."""

    @abstractmethod
    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        """FLOPs after the last block (merger, projection) on one item; runs on holes too, so on all of its units."""

    @abstractmethod
    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        """Units that attend to each other in a block: index tensors (units,) in the language model's order."""

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        """Rows of each of `segments` that belong to no unit: a class token, an odd audio frame, padding of a tile."""
        return [0] * len(self.segments(config, item, block))

    @abstractmethod
    def base(self, model: nn.Module) -> nn.Module:
        """The module that owns the feature methods and merges features into embeddings."""

    @abstractmethod
    def language_model(self, model: nn.Module) -> nn.Module:
        """The module called with ``inputs_embeds``, ``position_ids`` and ``attention_mask``."""

    @abstractmethod
    def layers(self, model: nn.Module) -> Sequence[nn.Module]:
        """Decoder layers."""

    @abstractmethod
    def layer_norm(self, layer: nn.Module) -> nn.Module:
        """The norm in front of a decoder layer's attention."""

    @abstractmethod
    def layer_projections(self, layer: nn.Module) -> Projections:
        """Query, key and value projections of a decoder layer."""

    @abstractmethod
    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        """Blocks of a modality's tower; after the last of them the rows return to their original number."""

    @abstractmethod
    def block_projections(self, block: nn.Module) -> Projections:
        """Query and key projections of a tower block."""

    def block_attention(self, block: nn.Module) -> nn.Module:
        """The attention of a block of a tiled tower: takes (or gets) ``attention_mask`` by name."""
        raise NotImplementedError(f"{self.family}: the tower takes no batch of tiles")

    @abstractmethod
    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        """Apply the tower's position embedding, if any, to (rows, heads, head_dim) queries and keys."""

    def expand_at(self, config: PreTrainedConfig, modality: Modality) -> tuple[int, ...]:
        """Blocks behind which the rows return to their original number, holes marked; the last is always among them."""
        return tuple(sorted({*self.deepstack(config, modality), self.depths(config).encoder[modality] - 1}))

    def deepstack(self, config: PreTrainedConfig, modality: Modality) -> tuple[int, ...]:
        """Blocks whose projected outputs are added to the media's tokens behind decoder layers 0, 1, ..., if any."""
        return ()

    def windows(self, config: PreTrainedConfig) -> Sequence[int | None]:
        """Sliding window of each decoder layer in tokens; None where a token sees all before it."""
        text = config.get_text_config()
        kinds = getattr(text, "layer_types", None)
        if kinds is None:
            usual = "full_attention" if getattr(text, "sliding_window", None) is None else "sliding_attention"
            kinds = [usual] * text.num_hidden_layers
        return [text.sliding_window if kind == "sliding_attention" else None for kind in kinds]

    def blocks_seen_whole(self, config: PreTrainedConfig, arguments: Mapping[str, Any]) -> Tensor | None:
        """(B, L) long on the host: tokens of one block see each other in both directions, -1 for none; None without.

        Args:
            config: of the model.
            arguments: of the model's call.
        """
        return None

    @abstractmethod
    def feature_methods(self) -> Mapping[Modality, str]:
        """Modality -> name of the base's method that encodes it, or of its tower where no method does."""

    @abstractmethod
    def shape_inputs(self) -> Mapping[Modality, str]:
        """Modality -> name of the model input that tells the shape of its items."""

    @abstractmethod
    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        """Items of one call of a feature method, from its bound arguments; of the whole model's where a tower is named.

        Raises:
            InputsError: an argument that tells the shapes is missing.
        """

    @abstractmethod
    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        """(units, unit) long: rows of the tower's sequence that make up each unit, in the language model's order."""

    def class_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        """(tiles,) long: rows of the tower's class tokens; None where it has none."""
        return None

    def score_block(self, config: PreTrainedConfig, modality: Modality, need: Score) -> int:
        """Block of the tower that a projector stage's scores come from: next to last, or in the middle."""
        blocks = self.depths(config).encoder[modality]
        return blocks // 2 if need == "middle_attention" else max(0, blocks - 2)

    def offers(self, config: PreTrainedConfig) -> Mapping[Modality, tuple[Location, ...]]:
        """Modality -> locations of a model with this configuration; those of the family, less what it cannot do."""
        return self.locations

    def scores(self, config: PreTrainedConfig, modality: Modality, location: Location) -> frozenset[Score]:
        """Scores that exist at a location; fewer than elsewhere where no row of the tower belongs to one token."""
        return SCORES_AT[location]

    @abstractmethod
    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        """Modality -> id of its placeholder token."""

    @abstractmethod
    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        """Media of about ``tokens`` tokens, as near as the family's sizes come.

        Args:
            config: of the model.
            modality: of the media.
            tokens: at the language model, at least 1.
            generator: of their pixels or features.
        """

    # --- the input ---

    def shrink(self, config: PreTrainedConfig, items: Sequence[Item], stage: Shrink) -> list[Item]:
        """Items of a request as an input stage leaves them, before anything is processed.

        Args:
            config: of the model.
            items: of one modality, uncompressed.
            stage: what is asked for.

        Raises:
            InputsError: the items do not tell what the processor could make of them.
        """
        grids = [
            (self.shrunk_clip(stage, item.count), 1, 1)
            if item.modality == "audio"
            else stage.downsample.target_grid(item.grid, stage.ratio, item.modality)
            for item in items
        ]
        return [item if grid == item.grid else item.resized(grid) for item, grid in zip(items, grids, strict=True)]

    def prepare(
        self,
        processor: Any,
        modality: Modality,
        media: Sequence[Any],
        alone: Sequence[bool],
        settings: Mapping[str, Any],
        stage: Shrink | None,
    ) -> Prepared | None:
        """Drive the family's processor so that it makes of pictures or videos what `shrink` says.

        Args:
            processor: of the checkpoint.
            modality: image or video.
            media: pictures, or videos as frames.
            alone: whether each is the only one of its prompt.
            settings: of the processor for this modality, given with the call.
            stage: what is asked for; None where nothing is, and only what the model is not told is to be noted.

        Returns:
            None where there is nothing to do.
        """
        return None

    def restored(self, items: Sequence[Item], originals: Sequence[Medium]) -> list[Item]:
        """Items of prepared inputs with the count that each medium had before its input stage.

        Raises:
            InputsError: the inputs are not those that were prepared.
        """
        if len(items) != sum(original.items for original in originals):
            raise InputsError(f"{items[0].modality}: {len(items)} items; other inputs were prepared for the policy")
        return [item.shrunk_from(original) for item, original in zip(items, originals, strict=True)]

    def shrunk_clip(self, stage: Shrink, units: int) -> int:
        """Tokens that an input stage leaves of a clip."""
        return stage.downsample.target_length((units, 1, 1), stage.ratio)

    def clip_units(self, frames: int) -> int:
        """Tokens of a clip of so many mel frames."""
        raise NotImplementedError(f"{self.family}: takes no audio")

    def clip_frames(self, units: int) -> int:
        """Mel frames of a clip of so many tokens."""
        raise NotImplementedError(f"{self.family}: takes no audio")

    def video_settings(self, processor: Any) -> Mapping[str, object]:
        """What a processor must be told about videos so that the checkpoint's own settings hold."""
        return {}

    @abstractmethod
    def chat(self, config: PreTrainedConfig) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Ids that open the user's turn, that close it, and those of the template inside it."""

    @abstractmethod
    def query_mask(self, config: PreTrainedConfig, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, L) bool: text of the last user turn, without template tokens and placeholders."""
