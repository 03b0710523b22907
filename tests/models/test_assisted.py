"""Ways of decoding that are only faster, or slower: under a policy they give the ids of greedy decoding on a cache."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.errors import InputsError
from autotc.models import find_adapter
from autotc.policy import Policy, Stage
from autotc.runtime.cache import CACHE

from .bare import SECOND_TURN
from .conversations import conversation, positions
from .families import FAMILIES, Family
from .test_exactness import main_modality, offered, standing

NAMES = sorted(FAMILIES)
PLAIN: dict[str, Any] = {"suppress_tokens": [*range(20), 63], "do_sample": False}
"""Text only: a placeholder that random weights make up would have no features."""


def decoder(modality: Any, family: Family, mechanism: str, layer: int, keep: float) -> Stage:
    """A decoder stage, as near to a layer as the family can run it."""
    where = standing(family, mechanism, layer)
    return Stage(modality=modality, location="decoder", layer=where, mechanism=mechanism, keep_ratio=keep)


def policies(family: Family) -> list[Policy]:
    """Stages at every location, those that read the end of the prompt among them."""
    modality = main_modality(family)
    stages = [
        Stage(modality=modality, location="encoder", layer=0, mechanism="tome", keep_ratio=0.6),
        Stage(modality=modality, location="projector", mechanism="cdpruner", keep_ratio=0.4),
        decoder(modality, family, "fastv", 1, 0.3),
        decoder(modality, family, "pyramiddrop", 2, 0.2),
    ]
    return [Policy.of([s]) for s in stages if offered(family, modality, s.location, s.mechanism)]


def greedy(model: Any, inputs: dict[str, Any], **kwargs: Any) -> Tensor:
    out: Tensor = model.generate(**inputs, max_new_tokens=7, min_new_tokens=7, **PLAIN, **kwargs)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_without_a_cache(name: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(family.rows)
    for policy in policies(family):
        with autotc.apply(model, policy) as handle, torch.no_grad():
            expected = greedy(model, inputs)
            assert len(handle.stats) == 1
            got = greedy(model, inputs, use_cache=False, return_dict_in_generate=True)
            assert torch.equal(got.sequences, expected)
            assert got.get(CACHE) is None
            assert len(handle.stats) == 2
            assert vars(handle.stats[0][0]) == vars(handle.stats[1][0])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model.generation_config, "use_cache", False)
                assert torch.equal(greedy(model, inputs), expected)


@pytest.mark.parametrize("name", NAMES)
def test_assisted(name: str) -> None:
    """Drafts that an assistant or the prompt itself offers are no part of the prompt that stages read."""
    family = FAMILIES[name]
    model: Any = family.build()
    assistant: Any = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(5)
    for parameter in find_adapter(assistant).layers(assistant)[-1].parameters():  # type: ignore[attr-defined]
        # Near enough to be right at times.
        parameter.data += 0.3 * parameter.data.std() * torch.randn(parameter.shape, generator=generator)
    if model._is_stateful:
        with pytest.raises(ValueError, match="not supported with stateful models"), autotc.apply(model, Policy()):
            greedy(model, family.request(family.rows[:1]), prompt_lookup_num_tokens=3)
        return
    row = family.rows[0]
    for seed in (1, 2, 3):
        inputs = family.request([row | {"seed": row["seed"] + seed, "text": 12}])
        # A prompt that repeats itself, for prompt look-up.
        inputs["input_ids"][:, -8:-5] = inputs["input_ids"][:, -5:-2]
        for policy in policies(family):
            with autotc.apply(model, policy), torch.no_grad():
                expected = greedy(model, inputs)
                assert torch.equal(greedy(model, inputs, prompt_lookup_num_tokens=3), expected)
                assert torch.equal(greedy(model, inputs, assistant_model=assistant), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_in_the_second_turn(name: str) -> None:
    """As chats do it: all tokens so far, and the media that are new."""
    family = FAMILIES[name]
    model: Any = family.build()
    talk = conversation(family)
    where = positions(family, talk.whole)
    policy = policies(family)[-1]
    inputs = {**talk.second, "input_ids": talk.whole["input_ids"], "attention_mask": talk.whole["attention_mask"]}
    for key in ("token_type_ids", "mm_token_type_ids"):
        if key in talk.whole:
            inputs[key] = talk.whole[key]
    with torch.no_grad():
        bare = model(**talk.go_on(model(**talk.first, use_cache=True)[CACHE], where)).logits
        cache = model(**talk.first, use_cache=True)[CACHE]
        if name in SECOND_TURN:
            try:
                out = greedy(model, inputs, **{CACHE: cache}, return_dict_in_generate=True, output_logits=True)
            except StopIteration:
                pytest.skip(SECOND_TURN[name])
            assert not torch.allclose(out.logits[0], bare[:, -1], atol=1e-4)
            pytest.skip(SECOND_TURN[name])
        out = greedy(model, inputs, **{CACHE: cache}, return_dict_in_generate=True, output_logits=True)
        torch.testing.assert_close(out.logits[0], bare[:, -1], atol=1e-4, rtol=1e-3)
        with autotc.apply(model, policy) as handle:
            first = model(**talk.first, use_cache=True)
            left = model(**talk.go_on(copy.deepcopy(first[CACHE]), where)).logits
            out = greedy(model, inputs, **{CACHE: first[CACHE]}, return_dict_in_generate=True, output_logits=True)
            assert len(handle.stats) == 3
    torch.testing.assert_close(out.logits[0], left[:, -1], atol=1e-4, rtol=1e-3)
    assert out[CACHE].get_seq_length() == talk.whole["input_ids"].shape[1] + 6


def test_guidance_and_what_is_refused() -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    inputs = family.request(family.rows[:1])
    policy = Policy.of([Stage(modality="image", location="decoder", layer=1, mechanism="fastv", keep_ratio=0.3)])
    with autotc.apply(model, policy), torch.no_grad():
        # A second, unconditional request runs in between, on a cache of its own.
        out = greedy(model, inputs, guidance_scale=1.000001, return_dict_in_generate=True, output_logits=True)
        expected = greedy(model, inputs, return_dict_in_generate=True, output_logits=True)
        assert torch.equal(out.sequences, expected.sequences)
        torch.testing.assert_close(torch.stack(out.logits), torch.stack(expected.logits))
        with pytest.raises(InputsError, match="assistant_early_exit: 2 given"):
            greedy(model, inputs, assistant_early_exit=2)
