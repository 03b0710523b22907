"""What the runtime must know about a model family: names of things, and shapes. No hook, no score."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from autotc.errors import InputsError, PolicyError, UnsupportedModelError
from autotc.mechanisms import LAYER_SCORES, SCORES_AT, Score
from autotc.models.media import Medium, Prepared, Shrink
from autotc.policy import ModelReference, Policy
from autotc.vocabulary import LOCATIONS, Location, Modality


@dataclass(frozen=True)
class Depths:
    """How deep a model is.

    Attributes:
        decoder: layers of the language model.
        encoder: modality -> blocks of its tower, up to the one whose output is read.
        unread: modality -> blocks behind that one.
    """

    decoder: int
    encoder: dict[str, int]
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """Geometry of one image, video or audio clip.

    Attributes:
        modality: what it is.
        grid: (t, y, x) output units; their product is the item's token count.
        n0: its uncompressed token count at the language model (differs when an input stage has shrunk it).
        extent: source extent of one unit: (seconds, pixels, pixels).
    """

    modality: Modality
    grid: tuple[int, int, int]
    n0: int
    extent: tuple[float, float, float]

    @property
    def count(self) -> int:
        """Units of the item as it enters the tower."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def slots(self) -> int:
        """Placeholders it takes in the prompt: its units, and structure such as newlines that is never offered."""
        return self.count

    @property
    def structure(self) -> int:
        """Tokens of the prompt that come and go with it and are no units: newlines, marks of tiles."""
        return self.slots - self.count

    def offsets(self) -> Tensor:
        """(N,) long, ascending: which of the item's placeholders holds each unit."""
        return torch.arange(self.count)

    def resized(self, grid: tuple[int, int, int]) -> Self:
        """The item after an input stage has brought it to another unit grid."""
        return replace(self, grid=grid, extent=self._scaled(self.grid, grid))

    def shrunk_from(self, original: Medium) -> Self:
        """The item as what an input stage made of a medium."""
        return replace(self, n0=original.n0, extent=self._scaled(original.grid, self.grid))

    def _scaled(self, old: tuple[int, int, int], new: tuple[int, int, int]) -> tuple[float, float, float]:
        t, y, x = (e * a / b for e, a, b in zip(self.extent, old, new, strict=True))
        return t, y, x

    def places(self) -> Tensor:
        """(N, 3) long: (t, y, x) of each unit in the language model's order."""
        t, y, x = self.grid
        axes = torch.meshgrid(torch.arange(t), torch.arange(y), torch.arange(x), indexing="ij")
        return torch.stack([axis.reshape(-1) for axis in axes], 1)

    def boxes(self) -> Tensor:
        """(N, 6) float: source extent (t0, t1, y0, y1, x0, x1) of each unit, in seconds and pixels."""
        low = self.places().float() * torch.tensor(self.extent)
        high = low + torch.tensor(self.extent)
        return torch.stack([low, high], -1).reshape(-1, 6)


@dataclass(frozen=True)
class Media:
    """Random media of one prompt, for measurements that no processor and no data are needed for.

    Attributes:
        ids: what stands for them in the prompt.
        inputs: the model's arguments; those of a batch are joined along their first dimension.
    """

    ids: list[int]
    inputs: dict[str, Tensor]


@dataclass(frozen=True)
class TowerShape:
    """Dimensions of a vision or audio tower.

    Attributes:
        width, heads, hidden: model width, attention heads, MLP width.
        gated: whether the MLP has three matrices.
        blocks: number of blocks.
        unit: rows of the tower per output unit.
        tiled: whether it takes a batch of tiles (T, L, D), padded to the longest, and not one packed sequence (S, D).
    """

    width: int
    heads: int
    hidden: int
    gated: bool
    blocks: int
    unit: int
    tiled: bool = False


@dataclass(frozen=True)
class DecoderShape:
    """Dimensions of a language model.

    Attributes:
        width, heads, kv_heads, head_dim, layers, vocabulary: as the configuration has them.
        hidden: MLP width that a token passes through; of all its experts together where they are a mixture.
        experts: number of experts that a router chooses from; 0 without one.
    """

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    layers: int
    vocabulary: int
    experts: int = 0


@dataclass(frozen=True)
class Projections:
    """Where an attention module makes queries and keys.

    Attributes:
        query, key: the linear layers.
        heads, kv_heads: their numbers of heads.
        scaling: factor of the scores.
        fused: whether ``query`` and ``key`` are one layer that makes queries, keys and values side by side.
        norms: of queries and keys, behind the linear layers and in front of the rotation, if any.
        norm_heads: whether they take each head's vector (..., D), and not all heads side by side (..., heads x D).
    """

    query: nn.Module
    key: nn.Module
    heads: int
    kv_heads: int
    scaling: float
    fused: bool = False
    norms: tuple[nn.Module, nn.Module] | None = None
    norm_heads: bool = True

    def split(self, projected: Tensor, part: Literal["query", "key"]) -> Tensor:
        """Queries or keys as projected (..., heads x D), normed: (..., heads, D)."""
        heads = self.heads if part == "query" else self.kv_heads
        norm = self.norms[0 if part == "query" else 1] if self.norms is not None else None
        if norm is not None and not self.norm_heads:
            projected = norm(projected)
        out = projected.reshape(*projected.shape[:-1], heads, -1)
        if norm is not None and self.norm_heads:
            out = norm(out)
        return out


class Adapter(ABC):
    """One model family. Stateless; one instance serves every model of the family.

    Class attributes:
        family: short name.
        architectures: class names in transformers.
        refused: modality -> location where no stage may act -> why.
        structural: configuration fields, dotted, that the fingerprint covers.
        processors: class names of its processors in transformers.
        wholes: class of a checkpoint that holds the model as a part -> the part's name.
    """

    family: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]]
    wholes: ClassVar[Mapping[str, str]] = {}
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
    def depths(self, config: Any) -> Depths:
        """Layers of decoder and towers."""

    @abstractmethod
    def decoder_shape(self, config: Any) -> DecoderShape:
        """Dimensions of the language model."""

    @abstractmethod
    def tower_shape(self, config: Any, modality: Modality) -> TowerShape:
        """Dimensions of a modality's tower."""

    @abstractmethod
    def stem_flops(self, config: Any, item: Item) -> int:
        """FLOPs before the first block (patch embedding, convolutions) on one item."""

    @abstractmethod
    def projector_flops(self, config: Any, item: Item) -> int:
        """FLOPs after the last block (merger, projection) on one item; runs on holes too, so on all of its units."""

    @abstractmethod
    def segments(self, config: Any, item: Item, block: int) -> Sequence[Tensor]:
        """Units that attend to each other in a block: index tensors (units,) in the language model's order."""

    def spare_rows(self, config: Any, item: Item, block: int) -> Sequence[int]:
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
        """Query and key projections of a decoder layer."""

    @abstractmethod
    def rotate(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        """Apply the decoder's rotary embedding to (B, heads, L, head_dim) queries and keys."""

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

    def expand_at(self, config: Any, modality: Modality) -> tuple[int, ...]:
        """Blocks behind which the rows return to their original number, holes marked; the last is always among them."""
        return tuple(sorted({*self.deepstack(config, modality), self.depths(config).encoder[modality] - 1}))

    def deepstack(self, config: Any, modality: Modality) -> tuple[int, ...]:
        """Blocks whose projected outputs are added to the media's tokens behind decoder layers 0, 1, ..., if any."""
        return ()

    def windows(self, config: Any) -> Sequence[int | None]:
        """Sliding window of each decoder layer in tokens; None where a token sees all before it."""
        text = config.get_text_config()
        kinds = getattr(text, "layer_types", None)
        if kinds is None:
            usual = "full_attention" if getattr(text, "sliding_window", None) is None else "sliding_attention"
            kinds = [usual] * text.num_hidden_layers
        return [text.sliding_window if kind == "sliding_attention" else None for kind in kinds]

    def blocks_seen_whole(self, config: Any, arguments: Mapping[str, Any]) -> Tensor | None:
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
    def geometry(self, config: Any, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        """Items of one call of a feature method, from its bound arguments; of the whole model's where a tower is named.

        Raises:
            InputsError: an argument that tells the shapes is missing.
        """

    @abstractmethod
    def unit_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor:
        """(units, unit) long: rows of the tower's sequence that make up each unit, in the language model's order."""

    def class_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        """(tiles,) long: rows of the tower's class tokens; None where it has none."""
        return None

    def score_block(self, config: Any, modality: Modality, need: Score) -> int:
        """Block of the tower that a projector stage's scores come from: next to last, or in the middle."""
        blocks = self.depths(config).encoder[modality]
        return blocks // 2 if need == "middle_attention" else max(0, blocks - 2)

    def offers(self, config: Any) -> Mapping[Modality, tuple[Location, ...]]:
        """Modality -> locations of a model with this configuration; those of the family, less what it cannot do."""
        return self.locations

    def scores(self, config: Any, modality: Modality, location: Location) -> frozenset[Score]:
        """Scores that exist at a location; fewer than elsewhere where no row of the tower belongs to one token."""
        return SCORES_AT[location]

    @abstractmethod
    def placeholders(self, config: Any) -> Mapping[Modality, int]:
        """Modality -> id of its placeholder token."""

    @abstractmethod
    def random_media(self, config: Any, modality: Modality, tokens: int, generator: torch.Generator) -> Media:
        """Media of about ``tokens`` tokens, as near as the family's sizes come.

        Args:
            config: of the model.
            modality: of the media.
            tokens: at the language model, at least 1.
            generator: of their pixels or features.
        """

    # --- the input ---

    def shrink(self, config: Any, items: Sequence[Item], stage: Shrink) -> list[Item]:
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

    def video_settings(self, processor: Any) -> Mapping[str, Any]:
        """What a processor must be told about videos so that the checkpoint's own settings hold."""
        return {}

    @abstractmethod
    def chat(self, config: Any) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Ids that open the user's turn, that close it, and those of the template inside it."""

    @abstractmethod
    def query_mask(self, config: Any, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(B, L) bool: text of the last user turn, without template tokens and placeholders."""

    def fingerprint(self, config: Any) -> str:
        """``sha256:`` over the structural fields."""
        values = {}
        for path in self.structural:
            value = config
            for part in path.split("."):
                value = getattr(value, part)
            values[path] = value
        text = json.dumps(values, sort_keys=True, default=str)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    def reference(self, model: nn.Module) -> ModelReference:
        """Architecture and fingerprint of a model."""
        return ModelReference(architecture=type(model).__name__, fingerprint=self.fingerprint(model.config))

    def validate(self, model: nn.Module, policy: Policy) -> None:
        """Check that a policy is for this model and fits its depth.

        Raises:
            PolicyError: naming field, value and what would be right.
        """
        mine = self.reference(model)
        if policy.model is not None:
            if policy.model.architecture != mine.architecture:
                raise PolicyError(
                    f"model.architecture: the policy is for {policy.model.architecture}, the model is a"
                    f" {mine.architecture}"
                )
            if policy.model.fingerprint not in (None, mine.fingerprint):
                raise PolicyError(
                    f"model.fingerprint: the policy is for {policy.model.fingerprint}, the model's configuration is"
                    f" {mine.fingerprint}; search again on this model, or remove the fingerprint"
                )
        depths = self.depths(model.config)
        for i, stage in enumerate(policy.stages):
            offered = self.offers(model.config).get(stage.modality, ())
            if stage.location not in offered:
                reason = self.refused.get(stage.modality, {}).get(stage.location)
                why = "" if reason is None else f" ({reason})"
                raise PolicyError(
                    f"stages.{i}.location: {self.family} offers no {stage.location} stage for {stage.modality}{why};"
                    f" it offers {', '.join(offered) or 'none'}"
                )
            absent = [
                n for n in stage.build().needs if n not in self.scores(model.config, stage.modality, stage.location)
            ]
            if absent:
                raise PolicyError(
                    f"stages.{i}.mechanism: {stage.mechanism} needs {absent[0]}, which {self.family} does not have for"
                    f" {stage.modality} at the {stage.location}"
                )
            limit = {"encoder": depths.encoder.get(stage.modality, 0), "decoder": depths.decoder}.get(stage.location)
            for layer, _ in stage.steps():
                if limit is not None and layer is not None and layer >= limit:
                    raise PolicyError(
                        f"stages.{i}.layer: {layer} given; the {stage.location} has layers 0 to {limit - 1}"
                    )
                mechanism = stage.build()
                if stage.location == "decoder" and layer == 0 and mechanism.score_source == "previous":
                    lacking = [n for n in mechanism.needs if n in LAYER_SCORES or n == "representation_shift"]
                    if lacking:
                        raise PolicyError(
                            f"stages.{i}.layer: 0 given; {stage.mechanism} needs {lacking[0]} of the layer before,"
                            " so 1 or deeper is right"
                        )


def spread(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide survivors over an item's tiles in proportion to their sizes; what rounding leaves goes to largest rests.

    Args:
        total: survivors, at most the sum of ``sizes``.
        sizes: units of each tile.
    """
    whole = sum(sizes)
    if not whole:
        return [0] * len(sizes)
    out = [total * size // whole for size in sizes]
    rests = [(-(total * size % whole), i) for i, size in enumerate(sizes)]
    for _, i in sorted(rests)[: total - sum(out)]:
        out[i] += 1
    return out


def column_index(lengths: Sequence[int], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Index (B, N) into a flat list of rows, right-aligned to the longest, and its validity (B, N) bool."""
    counts = torch.tensor(list(lengths), device=device)
    width = int(counts.max()) if len(lengths) else 0
    starts = counts.cumsum(0) - counts
    column = torch.arange(width, device=device)[None] - (width - counts)[:, None]
    valid = column >= 0
    return torch.where(valid, column + starts[:, None], 0), valid


def find_adapter(model: nn.Module) -> Adapter:
    """The adapter of a model's class.

    Raises:
        UnsupportedModelError: no adapter knows the class; the message lists those that are known.
    """
    from autotc.models import ADAPTERS

    name = type(model).__name__
    for adapter in ADAPTERS:
        if name in adapter.architectures:
            return adapter
    known = ", ".join(a for adapter in ADAPTERS for a in adapter.architectures)
    raise UnsupportedModelError(
        f"{name} is not supported; supported: {known}. A new family is one file in autotc/models/ (see Adapter)"
    )


def find_processor_adapter(processor: Any) -> Adapter:
    """The adapter of a processor's class.

    Raises:
        UnsupportedModelError: no adapter knows the class; the message lists those that are known.
    """
    from autotc.models import ADAPTERS

    name = type(processor).__name__
    for adapter in ADAPTERS:
        if name in adapter.processors:
            return adapter
    known = ", ".join(p for adapter in ADAPTERS for p in adapter.processors)
    raise UnsupportedModelError(f"{name} is not supported; supported processors: {known}")
