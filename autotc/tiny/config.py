"""Configuration, tokenizer and processor of `tiny-omni`: a Qwen2.5-Omni thinker at 1/3000 of the size."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

IMAGE_SIZE = 128
"""Pixels of an image's side: 8 x 8 units of 16 pixels, 64 tokens."""
FRAME_SIZE = 64
"""Pixels of a video frame's side: 4 x 4 units."""
FRAMES = 12
"""Frames of a video at 2 frames a second, two to a unit: 6 x 4 x 4 = 96 tokens."""
RATE = 16_000
"""Samples of audio a second."""
SECONDS = 3.0
"""Length of an audio clip: 300 mel frames, 75 tokens."""

SPECIAL = (
    "<|pad|>", "<|unk|>", "<|user|>", "<|end|>", "<|assistant|>", "<|vision_bos|>", "<|vision_eos|>", "<|audio_bos|>",
    "<|audio_eos|>", "<|IMAGE|>", "<|VIDEO|>", "<|AUDIO|>",
)  # fmt: skip
COLORS = ("red", "green", "blue", "yellow", "magenta", "cyan")
MOTIONS = ("up", "down", "left", "right")
ORDINALS = ("first", "second", "third", "fourth", "last")
WORDS = (
    *(str(d) for d in range(10)), *COLORS, *MOTIONS, *ORDINALS, "top", "bottom", "digit", "digits", "count", "where",
    "moves", "list", "word", "words", "loud", "color", "said", "shown", "yes", "no",
)  # fmt: skip
VOCABULARY = {token: i for i, token in enumerate((*SPECIAL, *WORDS))}

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}<|assistant|> {{ message.content if message.content is string else"
    " message.content[0].text }} <|end|> {% else %}<|user|> "
    "{% if message.content is string %}{{ message.content }} {% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_bos|> <|IMAGE|> <|vision_eos|> "
    "{% elif part.type == 'video' %}<|vision_bos|> <|VIDEO|> <|vision_eos|> "
    "{% elif part.type == 'audio' %}<|audio_bos|> <|AUDIO|> <|audio_eos|> "
    "{% else %}{{ part.text }} {% endif %}{% endfor %}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_config() -> Qwen2_5OmniThinkerConfig:
    """The thinker's configuration: 6 decoder layers of width 160, 3 vision blocks of 48, 3 audio blocks of 80."""
    ids = VOCABULARY
    audio: dict[str, Any] = {
        "num_mel_bins": 64, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 224, "d_model": 80,
        "max_source_positions": 400, "n_window": 150, "output_dim": 160,
        "initializer_range": 0.05,
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 3, "hidden_size": 48, "intermediate_size": 112, "num_heads": 3, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": IMAGE_SIZE, "out_hidden_size": 160,
        "fullatt_block_indexes": [0, 1, 2], "in_channels": 3, "initializer_range": 0.05,
    }  # fmt: skip
    text: dict[str, Any] = {
        "vocab_size": len(ids), "hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048, "pad_token_id": ids["<|pad|>"],
        "eos_token_id": ids["<|end|>"], "bos_token_id": None,
        "initializer_range": 0.05,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "mrope_section": [6, 7, 7]},
    }  # fmt: skip
    return Qwen2_5OmniThinkerConfig(
        audio_config=audio,
        vision_config=vision,
        text_config=text,
        audio_token_index=ids["<|AUDIO|>"],
        image_token_index=ids["<|IMAGE|>"],
        video_token_index=ids["<|VIDEO|>"],
        vision_start_token_id=ids["<|vision_bos|>"],
        vision_end_token_id=ids["<|vision_eos|>"],
        audio_start_token_id=ids["<|audio_bos|>"],
        audio_end_token_id=ids["<|audio_eos|>"],
        position_id_per_seconds=4,
        seconds_per_chunk=2,
        pad_token_id=ids["<|pad|>"],
        tie_word_embeddings=False,
        chat_marks={"user": [ids["<|user|>"]], "end": ids["<|assistant|>"], "template": list(range(len(SPECIAL)))},
    )


def build_model(seed: int = 0) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """An untrained `tiny-omni` with seeded weights."""
    torch.manual_seed(seed)
    model = Qwen2_5OmniThinkerForConditionalGeneration(build_config())
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(10)
    model.generation_config.eos_token_id = VOCABULARY["<|end|>"]
    model.generation_config.pad_token_id = VOCABULARY["<|pad|>"]
    return model


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the closed vocabulary; words are separated by spaces."""
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<|unk|>",
        pad_token="<|pad|>",
        eos_token="<|end|>",
        padding_side="left",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        extra_special_tokens={
            "image_token": "<|IMAGE|>",
            "audio_token": "<|AUDIO|>",
            "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
        },
        clean_up_tokenization_spaces=False,
    )


def build_processor() -> Qwen2_5OmniProcessor:
    """Qwen2.5-Omni's own processor with this model's patch size, pixel limits and clip length."""
    vision: dict[str, Any] = {
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": {"shortest_edge": 32 * 32, "longest_edge": 256 * 256},
    }
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(**vision),
        video_processor=Qwen2VLVideoProcessor(
            **(vision | {"size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 256 * 256}}), do_sample_frames=False
        ),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=64, sampling_rate=RATE, hop_length=160, chunk_length=8, n_fft=400, return_attention_mask=True
        ),
        tokenizer=build_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )
