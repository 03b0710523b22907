"""Gemma 4: pictures, videos and sound behind towers of its own, and a decoder with windows and shared keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.mechanisms import SCORES_AT, TOWER_SCORES, Score
from autotc.models.geometry import Item, Media
from autotc.models.random_media import marks, nearest_grid
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import DecoderShape, LayerShape, Projections, TowerShape, child
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Location, Modality

_CHAT = ((105, 2364), (106,), (*range(1, 108), 255999, 256000, *range(258880, 258885)))
"""Gemma 4's released vocabulary: the start of a turn and "user", the end of a turn, and the template."""
_UNIT_SECONDS = 0.04
"""Four mel frames of 10 ms, which two convolutions join."""
_INPUT = "its processor knows a few sizes of pictures alone; give it a smaller max_soft_tokens"
_TOWER = "the tower pools its rows by a matrix product, which nothing may be missing from"
_VISION: Mapping[Location, str] = {"input": _INPUT, "encoder": _TOWER}


@dataclass(frozen=True)
class Padded(Item):
    """A picture, video or clip whose rows in the tower are padded.

    Attributes:
        rows: of the tower for each picture, frame or clip, padding among them.
    """

    rows: int = 0


class Gemma4(RotaryDecoder):
    """`Gemma4ForConditionalGeneration`.

    Stages are behind the towers. Embeddings that each decoder layer adds of its own go with their tokens. In the
    smaller models the last layers take keys and values of earlier ones, and ``generate()`` runs them on the last token
    alone: no stage stands there. Tokens of a picture see each other in both directions within windows, where the
    configuration says so.
    """

    family = "gemma4"
    since: ClassVar[str | None] = TRIED_SINCE
    architectures = ("Gemma4ForConditionalGeneration",)
    processors = ("Gemma4Processor",)
    blocks_within_windows = True
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {
        "image": _VISION,
        "video": _VISION,
        "audio": {
            "input": "its processor tells the prompt a clip's length before the clip is made shorter",
            "encoder": "the tower convolves over neighbours, so that no row can be left out",
        },
    }
    structural = (
        "text_config.hidden_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "text_config.intermediate_size",
        "text_config.vocab_size",
        "text_config.layer_types",
        "text_config.sliding_window",
        "text_config.num_kv_shared_layers",
        "text_config.hidden_size_per_layer_input",
    )

    def offers(self, config: PreTrainedConfig) -> Mapping[Modality, tuple[Location, ...]]:
        held = {"image": config.vision_config, "video": config.vision_config, "audio": config.audio_config}
        return {modality: places for modality, places in self.locations.items() if held[modality] is not None}

    def scores(self, config: PreTrainedConfig, modality: Modality, location: Location) -> frozenset[Score]:
        return SCORES_AT[location] - (TOWER_SCORES if location == "projector" else frozenset())

    def depths(self, config: PreTrainedConfig) -> Depths:
        text, encoder = config.text_config, dict[str, int]()
        if config.vision_config is not None:
            encoder |= dict.fromkeys(("image", "video"), config.vision_config.num_hidden_layers)
        if config.audio_config is not None:
            encoder["audio"] = config.audio_config.num_hidden_layers
        modes = list(text.kv_sharing_modes)
        # What the layer has that gives its keys away is what all that take them have.
        shared = modes.index("store") + 1 if "reuse" in modes else None
        return Depths(text.num_hidden_layers, encoder, shared=shared)

    # --- the decoder ---

    def decoder_shape(self, config: PreTrainedConfig) -> DecoderShape:
        text, shape = config.text_config, super().decoder_shape(config)
        return replace(shape, entry=text.hidden_size * text.num_hidden_layers * text.hidden_size_per_layer_input)

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        own, reuses = text.per_layer_config[index], text.kv_sharing_modes[index] == "reuse"
        hidden = text.intermediate_size * (2 if text.use_double_wide_mlp and reuses else 1)
        routes = 0
        if text.enable_moe_block:
            hidden, routes = hidden + text.top_k_experts * text.moe_intermediate_size, text.num_experts
        alike = text.attention_k_eq_v and text.layer_types[index] != "sliding_attention"
        return LayerShape(
            heads=text.num_attention_heads,
            kv_heads=own.num_key_value_heads,
            head_dim=own.head_dim,
            hidden=hidden,
            routes=routes,
            kv_matrices=0 if reuses else 1 if alike else 2,
            extra=2 * text.hidden_size * text.hidden_size_per_layer_input,
        )

    def rotation(self, attention: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
        from transformers.models.gemma4.modeling_gemma4 import apply_rotary_pos_emb

        def both(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
            return apply_rotary_pos_emb(query, cos, sin), apply_rotary_pos_emb(key, cos, sin)

        return both

    def blocks_seen_whole(self, config: PreTrainedConfig, arguments: Mapping[str, Any]) -> Tensor | None:
        from transformers.models.gemma4.modeling_gemma4 import get_block_sequence_ids_for_mask

        kinds = arguments.get("mm_token_type_ids")
        if kinds is None or config.text_config.use_bidirectional_attention != "vision":
            return None
        blocks: Tensor = get_block_sequence_ids_for_mask(kinds.cpu(), torch.device("cpu"))
        return blocks

    # --- the towers ---

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        if modality == "audio":
            audio = config.audio_config
            # Two feed-forwards of two matrices, four times as wide: as one of four.
            width, blocks = audio.hidden_size, audio.num_hidden_layers
            return TowerShape(width, audio.num_attention_heads, 8 * width, False, blocks, 1, True)
        vision = config.vision_config
        unit, blocks = vision.pooling_kernel_size**2, vision.num_hidden_layers
        return TowerShape(
            vision.hidden_size, vision.num_attention_heads, vision.intermediate_size, True, blocks, unit, True
        )

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        assert isinstance(item, Padded)  # as geometry makes them
        if item.modality == "audio":
            return _audio_flops(config.audio_config, item.rows)
        vision = config.vision_config
        return int(2 * item.grid[0] * item.rows * 3 * vision.patch_size**2 * vision.hidden_size)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        assert isinstance(item, Padded)
        if item.modality == "audio":
            audio = config.audio_config
            width = audio.output_proj_dims
            return int(2 * item.rows * width * (audio.hidden_size + config.text_config.hidden_size))
        vision = config.vision_config
        # Pooling multiplies all rows of a picture with all of its tokens, padding on either side too.
        pooled = item.grid[0] * item.rows * (item.rows // vision.pooling_kernel_size**2)
        return int(2 * vision.hidden_size * (pooled + item.count * config.text_config.hidden_size))

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        if item.modality == "audio":
            return (torch.arange(item.count),)
        return torch.split(torch.arange(item.count), item.grid[1] * item.grid[2])

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        assert isinstance(item, Padded)
        frames = 1 if item.modality == "audio" else item.grid[0]
        unit = self.tower_shape(config, item.modality).unit
        return [item.rows - item.count // frames * unit] * frames

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        path = "audio_tower.layers" if modality == "audio" else "vision_tower.encoder.layers"
        return list(child(self.base(model), path).children())

    def block_projections(self, block: nn.Module) -> Projections:
        raise NotImplementedError("gemma4: no score is read in its towers")

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: object) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("gemma4: no score is read in its towers")

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features", "audio": "get_audio_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_position_ids", "video": "video_position_ids", "audio": "input_features_mask"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        given = arguments.get(self.shape_inputs()[modality])
        if given is None:
            raise InputsError(f"{self.shape_inputs()[modality]}: missing; {modality} needs it to know its shapes")
        if modality == "audio":
            half = given[:, ::2][:, ::2]
            counts, rows = half.sum(1).tolist(), half.shape[1]
            return [Padded("audio", (n, 1, 1), n, (_UNIT_SECONDS, 0.0, 0.0), rows) for n in counts]
        kernel, side = config.vision_config.pooling_kernel_size, config.vision_config.patch_size
        sizes = (given.amax(1) + 1).tolist()  # (x, y) of each picture or frame, in patches
        pixels, out = float(kernel * side), list[Item]()
        frames = [1] * len(sizes)
        if modality == "video":
            frames = arguments["num_frames_per_video"].tolist()
        start = 0
        for count in frames:
            x, y = sizes[start]
            start += count
            grid = (count, int(y) // kernel, int(x) // kernel)
            seconds = 1.0 if modality == "video" else 0.0
            out.append(Padded(modality, grid, count * grid[1] * grid[2], (seconds, pixels, pixels), given.shape[1]))
        return out

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        raise NotImplementedError("gemma4: no row of its towers is left out")

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        ids: dict[Modality, int] = {"image": config.image_token_id, "video": config.video_token_id}
        return {**ids, "audio": config.audio_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        if modality == "audio":
            features = torch.randn(1, 4 * tokens, _mels(config.audio_config), generator=generator)
            mask = torch.ones(1, 4 * tokens, dtype=torch.bool)
            ids = [*marks(config, "boa_token_id"), *[config.audio_token_id] * tokens, *marks(config, "eoa_token_index")]
            return Media(ids, {"input_features": features, "input_features_mask": mask})
        vision = config.vision_config
        frames = 1 if modality == "image" else max(1, min(8, tokens // 8))
        y, x = nearest_grid(tokens / frames)
        kernel = vision.pooling_kernel_size
        place = torch.stack(torch.meshgrid(torch.arange(x * kernel), torch.arange(y * kernel), indexing="xy"), -1)
        places = place.reshape(1, -1, 2).expand(frames, -1, -1).contiguous()
        pixels = torch.rand(frames, places.shape[1], 3 * vision.patch_size**2, generator=generator)
        frame = [self.placeholders(config)[modality]] * (y * x)
        ids = [*marks(config, "boi_token_id"), *frame, *marks(config, "eoi_token_id")] * frames
        if modality == "image":
            return Media(ids, {"pixel_values": pixels, "image_position_ids": places})
        count = torch.tensor([frames])
        inputs = {"pixel_values_videos": pixels, "video_position_ids": places, "num_frames_per_video": count}
        return Media(ids, inputs)

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT


def _mels(audio: PreTrainedConfig) -> int:
    """Mel bins, which two convolutions halve so that they fill the matrix behind them."""
    return int(4 * (audio.subsampling_conv_channels[0] // 4))


def _audio_flops(audio: PreTrainedConfig, rows: int) -> int:
    """FLOPs of a conformer tower on one clip beside its plain matrices and the attention of all pairs.

    Args:
        audio: configuration of the tower.
        rows: of the clip, padding among them.
    """
    width, chunk = audio.hidden_size, audio.attention_chunk_size
    first, second = audio.subsampling_conv_channels
    mels = _mels(audio)
    stem = 2 * 9 * (2 * rows * (mels // 2) * first + rows * (mels // 4) * first * second)
    stem += 2 * rows * (mels // 4) * second * width
    context = chunk + audio.attention_context_left - 1 + audio.attention_context_right
    padded = -(-rows // chunk) * chunk
    relative = context // 2 + 1
    block = 2 * width * (padded * context * 2 + padded * relative + relative * width)  # scores, places, values
    block -= 4 * width * rows**2  # what a block of attention among all would take
    block += 2 * rows * width * (3 * width + audio.conv_kernel_size)
    return int(stem + audio.num_hidden_layers * block)
