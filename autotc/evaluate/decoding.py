"""What follows a prefill: given answers forced through its cache, or greedy ones that `generate()` would say."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from autotc.errors import DataError
from autotc.models import find_adapter
from autotc.runtime.cache import CACHE

_CHANGING = (
    "repetition_penalty",
    "encoder_repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "min_length",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "guidance_scale",
    "watermarking_config",
    "penalty_alpha",
    "exponential_decay_length_penalty",
    "token_healing",
    "stop_strings",
    "num_beams",
    "dola_layers",
)
"""Settings that make `generate()` say something other than the likeliest token."""


def is_plain(config: GenerationConfig) -> bool:
    """Whether greedy `generate()` takes the likeliest token each time."""
    usual = {"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "num_beams": 1}
    values = ((name, getattr(config, name, None)) for name in _CHANGING)
    return all(not value or value == usual.get(name) for name, value in values)


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer, at least one: the checkpoint's, which for chats may be others than the tokenizer's."""
    ends = model.generation_config.eos_token_id
    ids = ends if isinstance(ends, (list, tuple)) else [ends]
    return [int(i) for i in ids if i is not None] or [int(tokenizer.eos_token_id)]


@torch.inference_mode()
def greedy(
    model: Any,
    prefill: Any,
    mask: Tensor,
    ends: Collection[int],
    limit: int,
) -> list[list[int]]:
    """The likeliest tokens of each row, up to one that ends the answer, which is left out.

    Args:
        model: that made the prefill; its policy still applied.
        prefill: output of the prompt's forward; its cache grows.
        mask: (B, L), of the prompt.
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
            use_cache=True,
            **{CACHE: prefill[CACHE]},
            **_positions(model, mask, 1),
        )
        last = output.logits[:, -1].argmax(-1)


@torch.inference_mode()
def prefill(model: Any, inputs: Any) -> Any:
    """Output of the prompt's forward, with a cache that answers can go on from.

    Rows count their positions from their first token, as in `generate()`; left to itself a forward counts padding too,
    and what follows would stand in the wrong place.
    """
    given = {}
    if not hasattr(find_adapter(model).base(model), "rope_deltas"):  # M-RoPE counts by itself
        mask = inputs["attention_mask"]
        given["position_ids"] = (mask.long().cumsum(1) - 1).masked_fill(mask == 0, 0)
    return model(**inputs, **given, use_cache=True)


def branch(prefill: Any) -> Any:
    """The prefill with a cache of its own, so that what is forced through it leaves the other as it was."""
    out = copy.copy(prefill)
    out[CACHE] = copy.deepcopy(prefill[CACHE])
    return out


@torch.inference_mode()
def follow(model: Any, prefill: Any, mask: Tensor, answers: Sequence[Sequence[int]], end: int) -> tuple[Tensor, Tensor]:
    """Force answers through a prefill's cache, which they are added to.

    Args:
        model: that made the prefill; its policy still applied.
        prefill: output of the prompt's forward.
        mask: (B, L), of the prompt.
        answers: token ids of each row, at least one in all.
        end: id of the token that ends an answer.

    Returns:
        Log-probabilities (B, W + 1, V) after the prompt and after each token of the longest answer, and the tokens
        (B, W + 1) that they are of: the answer, then ``end``.
    """
    first = prefill.logits[:, -1].float()
    width = max(len(a) for a in answers)
    device = first.device
    forced = torch.full((len(answers), width), end, device=device)
    for i, answer in enumerate(answers):
        forced[i, : len(answer)] = torch.tensor(answer, dtype=torch.long, device=device)
    mask = torch.cat([mask, torch.ones_like(forced)], 1)
    after = model(
        input_ids=forced,
        attention_mask=mask,
        **{CACHE: prefill[CACHE]},
        **_positions(model, mask, width),
    )
    logits = torch.cat([first[:, None], after.logits.float()], 1).log_softmax(-1)
    return logits, torch.cat([forced, torch.full_like(forced[:, :1], end)], 1)


def continuations(
    model: Any, tokenizer: Any, prefill: Any, mask: Tensor, texts: Sequence[str]
) -> list[tuple[float, int, bool]]:
    """Of each row's continuation: log-probability, tokens, and whether greedy decoding would say it.

    The text opens the assistant's turn: the space that separates it from a question is left out.

    Raises:
        DataError: a text is empty.
    """
    tokens = [tokenizer(text.strip(), add_special_tokens=False)["input_ids"] for text in texts]
    if any(not t for t in tokens):
        raise DataError("an answer to choose from has no tokens; texts that are not empty are expected")
    logits, targets = follow(model, branch(prefill), mask, tokens, tokenizer.eos_token_id)
    picked, best = logits.gather(2, targets[..., None])[..., 0], logits.argmax(-1) == targets
    return [(float(picked[i, : len(t)].sum()), len(t), bool(best[i, : len(t)].all())) for i, t in enumerate(tokens)]


def _positions(model: Any, mask: Tensor, new: int) -> dict[str, Tensor]:
    """Positions of the last tokens, continued from the prompt's (M-RoPE keeps an offset per row)."""
    base = find_adapter(model).base(model)
    deltas = getattr(base, "rope_deltas", None)
    positions = mask.long().cumsum(1)[:, -new:] - 1
    if deltas is None:
        return {"position_ids": positions}
    shifted = positions + deltas.to(positions.device).view(-1, 1)
    return {"position_ids": shifted[None].expand(3, -1, -1)}
