"""Local folders in exactly the hub's layout: tiny random-weight models with real processors, saved as they save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .families import FAMILIES

WORDS = [*"0123456789", "red", "blue", "which", "digit", "is", "colour", "said", "what", "the", "here"]
"""Of the vocabulary, from 20 on; what else a prompt says is unknown."""


def tokenizer(
    named: dict[str, tuple[int, str]], marks: tuple[str, str, str, str] = ("<user>", "<|x|>", "<end>", "<a>")
) -> Any:
    """A word-level tokenizer over 64 ids with the families' special tokens where their configurations have them.

    Args:
        named: attribute of the tokenizer -> id and token.
        marks: what opens a user's turn (2, 3), closes it (4) and opens the answer (6).
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokens = {0: "<pad>", 1: "<s>", 2: marks[0], 3: marks[1], 4: marks[2], 5: "<unk>", 6: marks[3], 63: "</s>"}
    tokens |= dict(named.values())
    tokens |= {20 + i: word for i, word in enumerate(WORDS)}
    vocabulary = {tokens.get(i, f"w{i}"): i for i in range(64)}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(marks),
        extra_special_tokens={key: token for key, (_, token) in named.items()},
        padding_side="right",
    )


def template(**media: str) -> str:
    """A chat template that puts a text for each medium."""
    parts = "".join(f"{{% elif part.type == '{kind}' %}}{text} " for kind, text in media.items())
    return (
        "<s> {% for message in messages %}<user> <|x|> {% for part in message.content %}"
        f"{{% if part.type == 'text' %}}{{{{ part.text }}}} {parts}{{% endif %}}{{% endfor %}}<end> {{% endfor %}}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    )


HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
QWEN_TOKENS = {
    "image_token": (9, "<|image_pad|>"),
    "video_token": (10, "<|video_pad|>"),
    "audio_token": (11, "<|audio|>"),
    "vision_bos_token": (7, "<|vision_start|>"),
    "vision_eos_token": (8, "<|vision_end|>"),
    "audio_bos_token": (12, "<|audio_start|>"),
    "audio_eos_token": (13, "<|audio_end|>"),
}
QWEN_TEMPLATE = template(
    image="<|vision_start|> <|image_pad|> <|vision_end|>",
    video="<|vision_start|> <|video_pad|> <|vision_end|>",
    audio="<|audio_start|> <|audio|> <|audio_end|>",
)


def qwen(name: str, prefix: str = "Qwen2") -> Any:
    import transformers

    vision = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, **HALF}
    image = {"shortest_edge": 8 * 8, "longest_edge": 64 * 64}
    words = tokenizer(QWEN_TOKENS)
    words.vision_start_token, words.vision_end_token = "<|vision_start|>", "<|vision_end|>"
    return getattr(transformers, f"{name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(**vision, size=image),
        video_processor=getattr(transformers, f"{prefix}VLVideoProcessor")(
            **vision, size={"shortest_edge": 8 * 8, "longest_edge": 12 * 64 * 64}, do_sample_frames=False
        ),
        tokenizer=words,
        chat_template=QWEN_TEMPLATE,
    )


def qwen3_5() -> Any:
    """Its checkpoints' tokenizer is of one class whatever their files say: pairs of bytes, here without a pair."""
    import string

    from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

    processor = qwen("Qwen3VL", "Qwen3")
    held = processor.tokenizer
    vocabulary = {token: i for token, i in held.get_vocab().items() if i < 20 or i == 63}
    vocabulary |= {sign: 20 + i for i, sign in enumerate(f"{string.ascii_lowercase}{string.digits}Ġ.<>")}
    marks = [token for token in vocabulary if token.startswith("<") and len(token) > 1]
    tokenizer = Qwen3_5Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={token: token for token in marks}
        | {key: token for key, (_, token) in QWEN_TOKENS.items()},
        padding_side="right",
    )
    tokenizer.vision_start_token, tokenizer.vision_end_token = held.vision_start_token, held.vision_end_token
    return type(processor)(
        image_processor=processor.image_processor,
        video_processor=processor.video_processor,
        tokenizer=tokenizer,
        chat_template=QWEN_TEMPLATE.replace("> ", ">"),
    )


def glm(name: str) -> Any:
    import transformers

    vision = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, **HALF}
    words = tokenizer(
        {
            "image_token": (9, "<|image|>"),
            "video_token": (10, "<|video|>"),
            "image_start": (7, "<|begin_of_image|>"),
            "image_end": (8, "<|end_of_image|>"),
            "video_start": (12, "<|begin_of_video|>"),
            "video_end": (13, "<|end_of_video|>"),
        }
    )
    return getattr(transformers, f"{name}Processor")(
        image_processor=getattr(transformers, f"{name}ImageProcessor")(
            **vision, size={"shortest_edge": 2 * 8 * 8, "longest_edge": 2 * 64 * 64}
        ),
        video_processor=getattr(transformers, f"{name}VideoProcessor")(
            **vision, size={"shortest_edge": 8 * 8, "longest_edge": 12 * 64 * 64}, do_sample_frames=False
        ),
        tokenizer=words,
        chat_template=template(
            image="<|begin_of_image|> <|image|> <|end_of_image|>",
            video="<|begin_of_video|> <|video|> <|end_of_video|>",
        ),
    )


def gemma4() -> Any:
    import transformers

    words = tokenizer(
        {
            "boi_token": (7, "<|image>"),
            "eoi_token": (8, "<image|>"),
            "image_token": (9, "<|image|>"),
            "video_token": (10, "<|video|>"),
            "audio_token": (11, "<|audio|>"),
            "boa_token": (12, "<|audio>"),
            "eoa_token": (13, "<audio|>"),
        }
    )
    return transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(feature_size=8),
        image_processor=transformers.Gemma4ImageProcessor(patch_size=4, max_soft_tokens=70),
        video_processor=transformers.Gemma4VideoProcessor(patch_size=4, max_soft_tokens=70, do_sample_frames=False),
        tokenizer=words,
        chat_template=template(image="<|image|>", video="<|video|>", audio="<|audio|>"),
    )


def mistral3() -> Any:
    from transformers import PixtralImageProcessor, PixtralProcessor

    words = tokenizer({"image_token": (9, "[IMG]"), "row": (12, "[IMG_BREAK]"), "last": (13, "[IMG_END]")})
    return PixtralProcessor(
        image_processor=PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 4, "width": 4}, **HALF),
        tokenizer=words,
        patch_size=4,
        spatial_merge_size=2,
        chat_template=template(image="[IMG]"),
    )


def video_llama_3() -> Any:
    import transformers

    return transformers.VideoLlama3Processor(
        image_processor=transformers.VideoLlama3ImageProcessor(
            patch_size=4, size={"shortest_edge": 8 * 8, "longest_edge": 32 * 32}, **HALF
        ),
        video_processor=transformers.VideoLlama3VideoProcessor(
            patch_size=4, size={"shortest_edge": 8 * 8, "longest_edge": 12 * 64 * 64}, **HALF
        ),
        tokenizer=tokenizer(QWEN_TOKENS),
        chat_template=template(image="<|image_pad|>", video="<|video_pad|>"),
    )


def minicpmv() -> Any:
    import transformers

    words = tokenizer(
        {
            "image_token": (9, "<|image_pad|>"),
            "video_token": (10, "<|video_pad|>"),
            "image_start_token": (7, "<image>"),
            "image_end_token": (8, "</image>"),
            "slice_start_token": (12, "<slice>"),
            "slice_end_token": (13, "</slice>"),
            "image_id_start_token": (14, "<image_id>"),
            "image_id_end_token": (15, "</image_id>"),
        }
    )
    sizes = {"scale_resolution": 32, "patch_size": 4, "max_slice_nums": 2, "use_image_id": False}
    return transformers.MiniCPMV4_6Processor(
        image_processor=transformers.MiniCPMV4_6ImageProcessor(**sizes, **HALF),
        video_processor=transformers.MiniCPMV4_6VideoProcessor(**sizes, **HALF, do_sample_frames=False),
        tokenizer=words,
        chat_template=template(image="<|image_pad|>", video="<|video_pad|>"),
    )


def qwen3_omni() -> Any:
    import transformers

    vision = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, **HALF}
    return transformers.Qwen3OmniMoeProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**vision, size={"shortest_edge": 64, "longest_edge": 4096}),
        video_processor=transformers.Qwen2VLVideoProcessor(
            **vision, size={"shortest_edge": 64, "longest_edge": 12 * 4096}, do_sample_frames=False
        ),
        feature_extractor=transformers.WhisperFeatureExtractor(
            feature_size=16, chunk_length=4, return_attention_mask=True
        ),
        tokenizer=tokenizer(QWEN_TOKENS),
        chat_template=QWEN_TEMPLATE,
    )


def llava() -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}),
        tokenizer=tokenizer({"image_token": (9, "<image>")}),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template(image="<image>"),
    )


PINPOINTS = [[24, 48], [48, 24], [48, 48], [24, 72]]


def llava_next() -> Any:
    from transformers import LlavaNextImageProcessor, LlavaNextProcessor

    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer=tokenizer({"image_token": (9, "<image>")}),
        patch_size=6,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template(image="<image>"),
    )


def llava_onevision() -> Any:
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor

    size = {"height": 24, "width": 24}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=PINPOINTS),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        tokenizer=tokenizer({"image_token": (9, "<image>"), "video_token": (10, "<video>")}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
        chat_template=template(image="<image>", video="<video>"),
    )


def internvl() -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor
    from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor

    words = tokenizer(
        {
            "start_image_token": (7, "<img>"),
            "end_image_token": (8, "</img>"),
            "context_image_token": (9, "<IMG_CONTEXT>"),
            "video_token": (10, "<video>"),
        }
    )
    size = {"height": 24, "width": 24}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, max_patches=6),
        video_processor=InternVLVideoProcessor(size=size),
        tokenizer=words,
        image_seq_length=4,
        chat_template=template(image="<IMG_CONTEXT>"),
    )


def idefics3() -> Any:
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    words = tokenizer(
        {"image_token": (9, "<image>"), "fake": (7, "<fake_token_around_image>"), "global": (11, "<global-img>")},
        ("<user>", "<|x|>", "<end_of_utterance>", "<a>"),
    )
    words.add_special_tokens({"additional_special_tokens": ["<end_of_utterance>"]})
    return Idefics3Processor(
        image_processor=Idefics3ImageProcessor(size={"longest_edge": 72}, max_image_size={"longest_edge": 24}),
        tokenizer=words,
        image_seq_len=4,
        chat_template=template(image="<image>").replace("<end>", "<end_of_utterance>"),
    )


def gemma3() -> Any:
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    words = tokenizer(
        {
            "image_token": (9, "<image_soft_token>"),
            "boi_token": (7, "<start_of_image>"),
            "eoi_token": (8, "<end_of_image>"),
        }
    )
    return Gemma3Processor(
        image_processor=Gemma3ImageProcessor(
            size={"height": 32, "width": 32},
            do_pan_and_scan=True,
            pan_and_scan_min_crop_size=16,
            pan_and_scan_max_num_crops=4,
            pan_and_scan_min_ratio_to_activate=1.2,
        ),
        tokenizer=words,
        image_seq_length=16,
        chat_template=template(image="<start_of_image>"),
    )


def qwen2_audio() -> Any:
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    # Clips of one second, which a longer hop makes into the tower's 48 mel frames.
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1, hop_length=333, return_attention_mask=True)
    words = tokenizer(
        {
            "audio_token": (9, "<|AUDIO|>"),
            "audio_bos_token": (7, "<|audio_bos|>"),
            "audio_eos_token": (8, "<|audio_eos|>"),
        }
    )
    return Qwen2AudioProcessor(
        feature_extractor=extractor,
        tokenizer=words,
        chat_template=template(audio="<|audio_bos|> <|AUDIO|> <|audio_eos|>"),
    )


_PROCESSORS: dict[str, Callable[[], Any]] = {
    "qwen2_vl": lambda: qwen("Qwen2VL"),
    "qwen2_5_vl": lambda: qwen("Qwen2_5_VL"),
    "qwen3_vl": lambda: qwen("Qwen3VL", "Qwen3"),
    "qwen3_5": qwen3_5,
    "qwen3_omni": qwen3_omni,
    "glm4v": lambda: glm("Glm4v"),
    "glm46v": lambda: glm("Glm46V"),
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "internvl": internvl,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "mistral3": mistral3,
    "minicpmv4_6": minicpmv,
    "video_llama_3": video_llama_3,
    "qwen2_audio": qwen2_audio,
}
PROCESSORS = {name: build for name, build in _PROCESSORS.items() if name in FAMILIES}
"""Families with a real processor that fits their tiny model."""


def save(name: str, folder: Path, dtype: Any = None, shard: str = "60KB") -> Path:
    """A family's tiny model and processor as a checkpoint."""
    import copy

    model: Any = FAMILIES[name].build()
    if dtype is not None:
        model = copy.deepcopy(model).to(dtype)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 63
    model.save_pretrained(folder, max_shard_size=shard)
    PROCESSORS[name]().save_pretrained(folder)
    return folder
