"""Engines and models of transformers beside each other: tiny checkpoints, prompts, and what both say."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import autotc
from autotc.evaluate.engines.local import metadata_of
from autotc.policy import Policy

from .checkpoints import save

TOKENS = 16
"""Of an answer."""


@cache
def checkpoint(family: str) -> Path:
    return save(family, Path(tempfile.mkdtemp()) / family)


@cache
def loaded(family: str) -> tuple[Any, Any]:
    """Its model and processor in transformers."""
    model, processor = autotc.load(str(checkpoint(family)), dtype="float32")
    model.generation_config.eos_token_id = None  # answers of both go on, whatever they say
    return model, processor


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def picture(seed: int, height: int, width: int) -> Any:
    return Image.fromarray(noise(seed, height, width, 3))


@dataclass(frozen=True)
class Prompt:
    """A question about pictures, or about a clip of so many frames."""

    images: Sequence[Any] = ()
    video: Any = None
    words: str = "which digit is red"
    options: dict[str, Any] = field(default_factory=dict)

    def text(self, processor: Any) -> str:
        parts = [{"type": "image"}] * len(self.images) + ([{"type": "video"}] if self.video is not None else [])
        turn = {"role": "user", "content": [*parts, {"type": "text", "text": self.words}]}
        return str(processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))

    def for_engine(self, family: str) -> dict[str, Any]:
        _, processor = loaded(family)
        media: dict[str, Any] = {}
        if self.images:
            media["image"] = list(self.images)
        if self.video is not None:
            timed = family.startswith("qwen")
            media["video"] = [(self.video, metadata_of(len(self.video)))] if timed else [self.video]
        ids = processor.tokenizer(self.text(processor), add_special_tokens=False)["input_ids"]
        return {"prompt_token_ids": ids, "multi_modal_data": media, **self.options}

    def for_transformers(self, family: str, policy: Policy) -> Any:
        _, processor = loaded(family)
        call = autotc.configure(processor, policy)
        extra: dict[str, Any] = {}
        if self.images:
            extra["images"] = list(self.images)
        if self.video is not None:
            extra |= {"videos": [self.video], "videos_kwargs": {"do_sample_frames": False}}
        return call(text=[self.text(processor)], return_tensors="pt", add_special_tokens=False, **extra)


def prompts(family: str, kind: str) -> Prompt:
    """One picture, two of different sizes, or a clip."""
    if kind == "video":
        return Prompt(video=noise(5, 6, 32, 40, 3))
    first, second = picture(1, 40, 56), picture(2, 48, 32)
    return Prompt(images=[first] if kind == "image" else [first, second])


@dataclass(frozen=True)
class Said:
    """An answer's ids, the log-probabilities that its first token was chosen by, and the prompt's length."""

    ids: list[int]
    first: dict[int, float]
    length: int


@contextmanager
def engine(family: str, policy: Policy | None = None, **arguments: Any) -> Iterator[Any]:
    """A vLLM in this process."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    options: dict[str, Any] = {
        "dtype": "float32",
        "max_model_len": 2048,
        "enforce_eager": True,
        "disable_log_stats": True,
        "limit_mm_per_prompt": {"image": 3} | ({} if family == "llava" else {"video": 1}),
        **arguments,
    }
    with tempfile.TemporaryDirectory() as folder:
        if policy is not None:
            path = policy.save(Path(folder) / "policy.yaml")
            options["additional_config"] = {"autotc": {"policy": str(path)}}
        made = LLM(str(checkpoint(family)), **options)
    try:
        yield made
    finally:
        del made
        gc.collect()
        cleanup_dist_env_and_memory()


def sampling() -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True, logprobs=4)


def ask(engine: Any, family: str, asked: Sequence[Prompt]) -> list[Said]:
    outputs = engine.generate([prompt.for_engine(family) for prompt in asked], sampling(), use_tqdm=False)
    return [
        Said(
            list(out.outputs[0].token_ids),
            {token: entry.logprob for token, entry in out.outputs[0].logprobs[0].items()},
            len(out.prompt_token_ids),
        )
        for out in outputs
    ]


@torch.inference_mode()
def expected(family: str, policy: Policy, prompt: Prompt) -> tuple[list[int], Any]:
    """What transformers says under a policy: ids, and log-probabilities (vocabulary) of the first token."""
    model, _ = loaded(family)
    inputs = prompt.for_transformers(family, policy)
    with autotc.apply(model, policy):
        out = model.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=False, return_dict_in_generate=True, output_logits=True
        )  # fmt: skip
    return out.sequences[0, inputs["input_ids"].shape[1] :].tolist(), out.logits[0][0].log_softmax(-1)


def differs(said: Said, family: str, policy: Policy, prompt: Prompt) -> str | None:
    """How an engine's answer differs from that of transformers; None where it does not."""
    ids, logits = expected(family, policy, prompt)
    worst = max(abs(float(logits[token]) - value) for token, value in said.first.items())
    if worst > 1e-3:
        return f"log-probabilities of the first token differ by {worst:.2g}"
    return None if said.ids == ids else f"says {said.ids}, transformers {ids}"
