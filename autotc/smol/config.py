"""Configuration and processor of `smol-vl`: a LLaVA of a CLIP tower of 10 M parameters and SmolLM2-135M."""

from __future__ import annotations

from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from autotc.smol.drawing import SIZE
from autotc.smol.scenes import PATCH, SIDE

TOKENS = SIDE**2
"""Tokens of a picture."""
IMAGE, LIKE = "<image>", 4
"""The placeholder of a picture's token, and the token (``<reponame>``) whose embedding it is given."""
START, END = "<|im_start|>", "<|im_end|>"
VOCABULARY = 49_152
"""Tokens of the language model; the placeholder is one more."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_config() -> LlavaConfig:
    """The model's configuration: 8 blocks of width 320 in front of 30 layers of width 576."""
    vision = CLIPVisionConfig(
        hidden_size=320,
        intermediate_size=1280,
        num_hidden_layers=8,
        num_attention_heads=5,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=320,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY + 1,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=VOCABULARY,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=TOKENS,
        tie_word_embeddings=True,
        architectures=["LlavaForConditionalGeneration"],
        chat_marks={"user": [1, 4093], "end": [2], "template": [0, 1, 2, 198, VOCABULARY]},
    )


def build_processor(tokenizer: PreTrainedTokenizerBase) -> LlavaProcessor:
    """LLaVA's own processor with this model's sizes.

    Args:
        tokenizer: of the language model; gets the placeholder of a picture's token.
    """
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    tokenizer.padding_side = "left"
    half = [0.5] * 3
    pictures = CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE}, do_center_crop=False, image_mean=half, image_std=half
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
