"""Reading `smol-vl`: what the recipe has written, in front of and merged into the pretrained language model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from autotc.errors import DataError
from autotc.smol.config import LIKE, build_config, build_processor
from autotc.smol.language import load_language, load_tokenizer

WEIGHTS = "model.safetensors"
"""File that the recipe writes: tower, projector and low-rank changes to the language model, in half precision."""


def load(folder: str | Path) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The model as the recipe left it, in float32 and eval mode, and its processor.

    The language model comes from its package; the low-rank changes are merged into it.

    Args:
        folder: that ``python -m autotc.smol.train`` has written.

    Raises:
        MissingDependencyError: the language model's package, or what reads its file, is not installed.
        DataError: the folder holds no such model.
    """
    path = Path(folder) / WEIGHTS
    try:
        kept = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path}: cannot be read; a folder that python -m autotc.smol.train has written is right"
        ) from error
    model = LlavaForConditionalGeneration(build_config())
    _take_language(model, load_language().state_dict(), kept)
    for part, module in (("tower", model.model.vision_tower), ("projector", model.model.multi_modal_projector)):
        start = f"sight.{part}."
        module.load_state_dict({key.removeprefix(start): value for key, value in kept.items() if key.startswith(start)})
    return model.eval(), build_processor(load_tokenizer())


def _take_language(model: LlavaForConditionalGeneration, language: dict[str, Tensor], kept: dict[str, Tensor]) -> None:
    """Put the language model's weights and the changes to them behind the projector."""
    for name, value in language.items():
        if f"language.{name.removesuffix('.weight')}.a" in kept:
            a, b = (kept[f"language.{name.removesuffix('.weight')}.{factor}"].float() for factor in "ab")
            value += 2 * b @ a
    rows = language["model.embed_tokens.weight"]
    state = {name.removeprefix("model."): value for name, value in language.items() if name != "lm_head.weight"}
    # The placeholder of a picture's token is replaced before the first layer; it must not be what is said.
    state["embed_tokens.weight"] = torch.cat([rows, rows[LIKE : LIKE + 1]])
    model.model.language_model.load_state_dict(state)
    model.tie_weights()
