"""LLaVA-OneVision: tiles of images and frames of videos in a SigLIP tower, resized behind it, and a rotary decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError, UnsupportedModelError
from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.mechanisms import SCORES_AT, TOWER_SCORES, Score
from autotc.models.adapter import Adapter
from autotc.models.chat import QWEN_CHAT
from autotc.models.geometry import Item, Media
from autotc.models.llava_next import Anyres, LlavaNext, TiledImage
from autotc.models.media import Medium, Prepared, Shrink, frames_of, sampled, setting
from autotc.models.qwen_vision import SECONDS_PER_FRAME
from autotc.models.shapes import TowerShape
from autotc.models.tiled_tower import block_of, pooling_head_flops
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class PooledVideo(Item):
    """A video whose frames were halved behind the tower; one newline ends it."""

    @property
    def slots(self) -> int:
        return self.count + 1


class LlavaOnevision(LlavaNext):
    """`LlavaOnevisionForConditionalGeneration`, images and video.

    Large images and every video are resized bilinearly behind the tower: no row of the tower belongs to one token. So
    there is no stage in the tower, and no score is taken there. Images are tiled where a prompt has one; in prompts
    with several (``batch_num_images``) each is one view, which no input stage can make smaller. Frames have the tower's
    one size: an input stage on video drops frames, whatever its axis.
    """

    family = "llava_onevision"
    several_tiled = False
    architectures = ("LlavaOnevisionForConditionalGeneration",)
    class_token = False
    processors = ("LlavaOnevisionProcessor",)
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {
        "image": {"encoder": "images are resized behind the tower, so that no row of it belongs to one token"},
        "video": {"encoder": "frames are halved behind the tower, so that no row of it belongs to one token"},
    }
    structural: ClassVar[tuple[str, ...]] = (*LlavaNext.structural, "vision_aspect_ratio")

    def scores(self, config: PreTrainedConfig, modality: Modality, location: Location) -> frozenset[Score]:
        exist = SCORES_AT[location]
        return exist - TOWER_SCORES if location in ("encoder", "projector") else exist

    def blocks_read(self, config: PreTrainedConfig) -> int:
        layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
        tower = config.vision_config.model_type
        if not isinstance(layer, int) or strategy != "full" or tower != "siglip_vision_model":
            raise UnsupportedModelError(
                f"llava_onevision: vision_feature_layer {layer!r}, vision_feature_select_strategy {strategy!r} and a"
                f" tower {tower} given; one layer, 'full' and siglip_vision_model are right"
            )
        return block_of(layer, config.vision_config.num_hidden_layers)

    def depths(self, config: PreTrainedConfig) -> Depths:
        depths = super().depths(config)
        used = depths.encoder["image"]
        return Depths(depths.decoder, {"image": used, "video": used})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        return super().tower_shape(config, "image")

    def most(self, source: Any) -> int | None:
        return int(source.vision_aspect_ratio.removeprefix("anyres_max_"))

    def processor_rule(self, processor: Any, settings: Mapping[str, Any]) -> Anyres:
        pixels = int(setting(processor, settings, "size")["height"])
        pinpoints = tuple((int(y), int(x)) for y, x in setting(processor, settings, "image_grid_pinpoints"))
        return Anyres(math.isqrt(processor.num_image_tokens), pixels, pinpoints, self.most(processor))

    def shrink(self, config: PreTrainedConfig, items: Sequence[Item], stage: Shrink) -> list[Item]:
        if not items or items[0].modality == "image":
            return super().shrink(config, items, stage)
        lengths = [stage.downsample.target_length(item.grid, stage.ratio) for item in items]
        return [item.resized((length, *item.grid[1:])) for item, length in zip(items, lengths, strict=True)]

    def prepare(
        self,
        processor: Any,
        modality: Modality,
        media: Sequence[Any],
        alone: Sequence[bool],
        settings: Mapping[str, Any],
        stage: Shrink | None,
    ) -> Prepared | None:
        if stage is None or modality == "image":
            return super().prepare(processor, modality, media, alone, settings, stage)
        half = math.ceil(math.isqrt(processor.num_image_tokens) / 2)
        out, originals = [], []
        for medium in media:
            frames = frames_of(medium)
            grid = (len(frames), half, half)
            fewer = sampled(frames, stage.downsample.target_length(grid, stage.ratio))
            out.append(fewer.permute(0, 2, 3, 1).numpy())
            originals.append(Medium(grid, len(frames) * half**2))
        return Prepared(out, originals, {"do_sample_frames": False})

    def restored(self, items: Sequence[Item], originals: Sequence[Medium]) -> list[Item]:
        if items and items[0].modality == "video":
            return Adapter.restored(self, items, originals)
        return super().restored(items, originals)

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        side = self.sides(config)[0]
        if modality == "video":
            clips, frames = arguments["pixel_values_videos"].shape[:2]
            half = math.ceil(side / 2)
            pixels = config.vision_config.image_size / half
            extent = (SECONDS_PER_FRAME, pixels, pixels)
            return [PooledVideo("video", (frames, half, half), frames * half**2, extent)] * clips
        sizes, numbers = arguments.get("image_sizes"), arguments.get("batch_num_images")
        if sizes is None:
            raise InputsError("image_sizes: missing; they tell how an image was tiled")
        sizes = torch.as_tensor(sizes).tolist()
        alone = [True] * len(sizes)
        if numbers is not None:
            alone = [number == 1 for number in torch.as_tensor(numbers).tolist() for _ in range(number)]
        return [self.image(config, size, tiled) for size, tiled in zip(sizes, alone, strict=True)]

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        if modality == "video":
            vision, half = config.vision_config, math.ceil(self.sides(config)[0] / 2)
            frames = max(1, round(tokens / half**2))
            side = vision.image_size
            pixels = torch.randn(1, frames, vision.num_channels, side, side, generator=generator)
            return Media([config.video_token_id] * (frames * half**2 + 1), {"pixel_values_videos": pixels})
        media = super().random_media(config, modality, tokens, generator)
        return Media(media.ids, media.inputs | {"batch_num_images": torch.tensor([len(media.inputs["image_sizes"])])})

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_sizes", "video": "pixel_values_videos"}

    def _tiles(self, item: Item) -> int:
        return item.views if isinstance(item, TiledImage) else item.grid[0]

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        return super().stem_flops(config, self.image(config, (1, 1), tiled=False)) * self._tiles(item)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision, text = config.vision_config, config.text_config
        rows, width = self.sides(config)[0] ** 2, vision.hidden_size
        behind = self.unread_flops(config) + pooling_head_flops(vision, rows)
        projected = 2 * rows * (width * text.hidden_size + text.hidden_size**2)
        return int((behind + projected) * self._tiles(item))

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return [torch.empty(0, dtype=torch.long)] * self._tiles(item)

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        return [self.sides(config)[0] ** 2] * self._tiles(item)

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        raise UnsupportedModelError("llava_onevision: no row of the tower belongs to one token")

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return QWEN_CHAT
