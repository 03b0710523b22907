"""Greedy answers that go on from a prefill's cache, where `generate()` would do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from autotc.runtime.decode import CACHE

_CHANGING = (
    "repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "sequence_bias", "min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "suppress_tokens", "begin_suppress_tokens", "guidance_scale", "watermarking_config", "penalty_alpha",
    "exponential_decay_length_penalty", "token_healing", "stop_strings",
)  # fmt: skip
"""Settings that make `generate()` say something other than the likeliest token."""


def is_plain(config: GenerationConfig) -> bool:
    """Whether greedy `generate()` takes the likeliest token each time."""
    usual = {"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0}
    values = ((name, getattr(config, name, None)) for name in _CHANGING)
    return all(not value or value == usual.get(name) for name, value in values)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer."""
    ends = model.generation_config.eos_token_id
    out = {int(i) for i in (ends if isinstance(ends, (list, tuple)) else [ends]) if i is not None}
    return out or {int(tokenizer.eos_token_id)}


@torch.inference_mode()
def greedy(
    model: Any,
    prefill: Any,
    mask: Tensor,
    positions: Callable[[Tensor, int], dict[str, Tensor]],
    ends: Collection[int],
    limit: int,
) -> list[list[int]]:
    """The likeliest tokens of each row, up to one that ends the answer, which is left out.

    Args:
        model: that made the prefill; its policy still applied.
        prefill: output of the prompt's forward; its cache grows.
        mask: (B, L), of the prompt.
        positions: what the model is told of the positions of the last ``n`` of the tokens of a mask.
        ends: ids that end an answer.
        limit: most tokens of an answer.
    """
    last = prefill.logits[:, -1].argmax(-1)
    rows: list[list[int]] = [[] for _ in last]
    done = [False] * len(rows)
    while True:
        for i, token in enumerate(last.tolist()):
            done[i] = done[i] or token in ends
            if not done[i]:
                rows[i].append(token)
                done[i] = len(rows[i]) >= limit
        if all(done):
            return rows
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        output = model(
            input_ids=last[:, None],
            attention_mask=mask,
            **{CACHE: prefill[CACHE]},
            **positions(mask, 1),
            use_cache=True,
        )
        last = output.logits[:, -1].argmax(-1)
