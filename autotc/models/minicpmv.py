"""MiniCPM-V 4.6 and 4.7: a SigLIP tower that joins 2 x 2 rows half-way, a merger, and Qwen3.5's hybrid decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError, UnsupportedModelError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item, Media, square_rows
from autotc.models.hybrid import HybridDecoder
from autotc.models.qwen3_5 import CHAT
from autotc.models.random_media import nearest_grid
from autotc.models.shapes import Projections, TowerShape, child, plain_projections
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Location, Modality

_INPUT: Mapping[Location, str] = {
    "input": "the processor cuts pictures and frames into slices by its own rule; give it another max_slice_nums"
}


class MiniCPMV(HybridDecoder):
    """`MiniCPMV4_6ForConditionalGeneration` and `MiniCPMV4_7ForConditionalGeneration`.

    The tower joins squares of 2 x 2 rows behind one of its blocks: encoder stages and scores are of the blocks behind
    that, counted from 0, and what is in front of it counts as the stem. An item is one picture, one slice of it, or one
    frame: the inputs do not say which belong together, so each keeps its share. Called with ``downsample_mode="4x"``,
    where nothing is joined, requests are refused.
    """

    family = "minicpmv"
    since: ClassVar[str | None] = TRIED_SINCE
    video_as_images = True
    architectures = ("MiniCPMV4_6ForConditionalGeneration", "MiniCPMV4_7ForConditionalGeneration")
    processors = ("MiniCPMV4_6Processor", "MiniCPMV4_7Processor")
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {"image": _INPUT, "video": _INPUT}
    structural = (
        *TEXT_FIELDS,
        "text_config.head_dim",
        "text_config.layer_types",
        "vision_config.num_hidden_layers",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.patch_size",
        "insert_layer_id",
        "merger_times",
    )

    def _before(self, config: PreTrainedConfig) -> int:
        """Blocks of the tower in front of its merger.

        Raises:
            UnsupportedModelError: a configuration whose rows are joined in another way.
        """
        kernels = tuple(config.merge_kernel_size), tuple(config.vision_config.window_kernel_size)
        mode, inserted = config.downsample_mode, config.vision_config.insert_layer_id
        if kernels != ((2, 2), (2, 2)) or mode != "16x" or inserted < 0:
            raise UnsupportedModelError(
                f"minicpmv: merge_kernel_size and window_kernel_size {kernels}, downsample_mode {mode!r} and"
                f" insert_layer_id {inserted} given; 2 x 2, '16x' and a block are right"
            )
        return int(inserted) + 1

    @staticmethod
    def _side(config: PreTrainedConfig) -> int:
        """Side in rows, behind the tower's merger, of the square that makes up a token."""
        return int(2**config.merger_times)

    def depths(self, config: PreTrainedConfig) -> Depths:
        blocks = config.vision_config.num_hidden_layers - self._before(config)
        text = config.text_config
        return Depths(text.num_hidden_layers, {"image": blocks, "video": blocks}, recurrent=self.recurrent(text))

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        blocks, unit = vision.num_hidden_layers - self._before(config), self._side(config) ** 2
        return TowerShape(vision.hidden_size, vision.num_attention_heads, vision.intermediate_size, False, blocks, unit)

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision = config.vision_config
        width, hidden = vision.hidden_size, vision.intermediate_size
        rows = 4 * item.count * self._side(config) ** 2
        embedded = 2 * rows * vision.num_channels * vision.patch_size**2 * width
        block = 2 * rows * (4 * width**2 + 2 * width * hidden) + 4 * width * rows**2
        # Each square's four rows attend to each other; then they are joined by two matrices, four times as wide.
        joined = 2 * rows * 4 * width**2 + 4 * width * rows * 4 + 2 * (rows // 4) * (16 + 4) * width * hidden
        return int(embedded + self._before(config) * block + joined)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
        flops, units = 0, item.count * self._side(config) ** 2
        for last in [False] * (config.merger_times - 1) + [True]:
            units //= 4
            flops += 2 * units * (16 * width**2 + 4 * width * (text_width if last else width))
        return int(flops)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return (torch.arange(item.count),)

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        config: Any = model.config
        return list(child(self.base(model), "vision_tower.encoder.layers").children())[self._before(config) :]

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(child(block, "self_attn"))

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: object) -> tuple[Tensor, Tensor]:
        return query, key

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "target_sizes", "video": "target_sizes_videos"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        name = self.shape_inputs()[modality]
        sizes, mode = arguments.get(name), arguments.get("downsample_mode")
        if sizes is None:
            raise InputsError(f"{name}: missing; {modality}s need them to know how large each is")
        if mode not in (None, "16x"):
            raise InputsError(f"downsample_mode: {mode!r} given; under a policy '16x' is right")
        side = 2 * self._side(config)
        pixels = float(side * config.vision_config.patch_size)
        grids = [(1, int(y) // side, int(x) // side) for y, x in sizes.tolist()]
        return [Item(modality, grid, grid[1] * grid[2], (0.0, pixels, pixels)) for grid in grids]

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        return square_rows([item.grid[1:] for item in items], self._side(config))

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        y, x = nearest_grid(tokens)
        vision, side = config.vision_config, 2 * self._side(config)
        patches = y * x * side**2
        pixels = torch.randn(
            1, vision.num_channels, vision.patch_size, vision.patch_size * patches, generator=generator
        )
        suffix = "" if modality == "image" else "_videos"
        inputs = {f"pixel_values{suffix}": pixels, f"target_sizes{suffix}": torch.tensor([[y * side, x * side]])}
        return Media([self.placeholders(config)[modality]] * (y * x), inputs, {f"pixel_values{suffix}": 3})

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return CHAT
