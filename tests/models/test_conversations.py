"""A cache under a policy: new media in a later turn, and all that can be done to a cache between two calls."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.errors import InputsError
from autotc.mechanisms import MECHANISMS
from autotc.models import bind
from autotc.policy import Policy
from autotc.runtime.cache import CACHE

from .conversations import Conversation, conversation, positions
from .families import FAMILIES, Family
from .test_exactness import main_modality, offered, standing

NAMES = sorted(FAMILIES)
Place = tuple[str, str, int | None]
BY_ITEM: dict[str, Place] = {
    "decoder": ("decoder", "random", 2),
    "first layer": ("decoder", "divprune", 0),
    "projector": ("projector", "divprune", None),
    "encoder": ("encoder", "tome", 0),
}
"""Places of stages whose choice depends on the item alone: what they leave in one turn they leave in one call."""
READING: tuple[Place, ...] = (
    ("decoder", "fastv", 1),
    ("decoder", "pyramiddrop", 2),
    ("decoder", "text_attention", 2),
    ("decoder", "received_attention", 2),
    ("decoder", "dart", 2),
    ("projector", "cdpruner", None),
    ("projector", "text_similarity", None),
)
"""Places of stages whose choice depends on the text."""


def policy_of(family: Family, place: Place, keep: float = 0.35) -> Policy:
    location, mechanism, layer = place
    modality = main_modality(family)
    if not offered(family, modality, location, mechanism):
        pytest.skip(f"{family.name} offers no {mechanism} at the {location}")
    if location == "decoder" and layer is not None:
        layer = standing(family, mechanism, layer)
    stage = {"modality": modality, "location": location, "mechanism": mechanism, "layer": layer, "keep_ratio": keep}
    return Policy.model_validate({"stages": [stage]})


@torch.no_grad()
def second_turn(family: Family, policy: Policy, talk: Conversation) -> Tensor:
    """Logits of the second turn on the cache of the first."""
    model: Any = family.build()
    where = positions(family, talk.whole)
    with autotc.apply(model, policy) as handle:
        first = model(**talk.first, use_cache=True)
        second = model(**talk.go_on(first[CACHE], where), use_cache=True)
        assert len(handle.stats) == 2
        assert second[CACHE].get_seq_length() == talk.whole["input_ids"].shape[1]
    out: Tensor = second.logits
    return out


@torch.no_grad()
def bare_differs(family: Family, talk: Conversation) -> bool:
    """Whether the bare model itself gives other logits on a cache than in one call (Gemma 3: other masks)."""
    model: Any = family.build()
    first = model(**talk.first, use_cache=True)
    second = model(**talk.go_on(first[CACHE], positions(family, talk.whole))).logits
    return not torch.allclose(second, model(**talk.whole).logits[:, -second.shape[1] :], atol=1e-4)


@torch.no_grad()
def in_one_call(family: Family, policy: Policy, talk: Conversation) -> Tensor:
    with autotc.apply(family.build(), policy):
        out: Tensor = family.build()(**talk.whole).logits
    return out


@pytest.mark.parametrize("name", NAMES)
def test_keeping_everything_is_what_the_bare_model_does(name: str) -> None:
    family, talk = FAMILIES[name], conversation(FAMILIES[name])
    model: Any = family.build()
    where = positions(family, talk.whole)
    with torch.no_grad():
        bare = model(**talk.go_on(model(**talk.first, use_cache=True)[CACHE], where)).logits
    kept = second_turn(family, policy_of(family, ("decoder", "fastv", 2), 1.0), talk)
    assert torch.equal(kept, bare)


@pytest.mark.parametrize("place", BY_ITEM)
@pytest.mark.parametrize("name", NAMES)
def test_new_media_equal_one_call(name: str, place: str) -> None:
    family, talk = FAMILIES[name], conversation(FAMILIES[name])
    policy = policy_of(family, BY_ITEM[place])
    if BY_ITEM[place][2] and bare_differs(family, talk):
        pytest.skip(f"{name}'s own layers, in front of the stage, see the cache in another way than one call")
    got, expected = second_turn(family, policy, talk), in_one_call(family, policy, talk)
    assert got.shape[1] < talk.second["input_ids"].shape[1]
    torch.testing.assert_close(got, expected[:, -got.shape[1] :], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("place", READING, ids=lambda place: "-".join(map(str, place)))
@pytest.mark.parametrize("name", NAMES)
def test_scores_see_what_the_cache_holds(name: str, place: Place) -> None:
    """Text, then media on its cache: chosen as in one call, though the attention to the text before is cached."""
    family, talk = FAMILIES[name], conversation(FAMILIES[name], media_first=False)
    policy = policy_of(family, place)
    offset = MECHANISMS[place[1]].scored_offset()
    layer = policy.stages[0].steps()[0][0]
    if offset is not None and layer is not None and bind(family.build()).windows[layer + offset] is not None:
        pytest.skip(f"{name}'s layer {layer + offset} has let go of keys outside its window")
    if place[2] and bare_differs(family, talk):
        pytest.skip(f"{name}'s own layers, in front of the stage, see the cache in another way than one call")
    got, expected = second_turn(family, policy, talk), in_one_call(family, policy, talk)
    assert got.shape[1] < talk.second["input_ids"].shape[1]
    torch.testing.assert_close(got, expected[:, -got.shape[1] :], atol=1e-4, rtol=1e-3)


CACHED = ("internvl", "llava", "qwen2_5_vl", "qwen3_vl", "smolvlm")
MROPE = ("qwen2_5_vl", "qwen3_vl")
CUTS = (BY_ITEM["decoder"], BY_ITEM["projector"])


def tokens(*ids: int) -> Tensor:
    return torch.tensor([ids])


def step(model: Any, cache: Any, ids: Tensor) -> Tensor:
    """Logits of tokens behind what a cache has seen, which has no padding."""
    out: Tensor = model(input_ids=ids, **{CACHE: cache}).logits
    return out


def prefilled(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**inputs, use_cache=True)[CACHE]


@pytest.mark.parametrize("place", CUTS, ids=lambda place: place[0])
@pytest.mark.parametrize("name", CACHED)
def test_cropped_copied_and_interleaved(name: str, place: Place) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    one, other = family.request(family.rows[:1]), family.request(family.rows[1:2])
    length = one["input_ids"].shape[1]
    ids, wrong = tokens(21, 24, 22), tokens(30, 31)
    with autotc.apply(model, policy_of(family, place)), torch.no_grad():
        cache = prefilled(model, one)
        assert cache.get_seq_length() == length
        expected = step(model, cache, ids)
        assert cache.get_seq_length() == length + 3

        cache = prefilled(model, one)
        step(model, cache, wrong)
        cache.crop(-2)
        torch.testing.assert_close(step(model, cache, ids), expected)
        # Into the prompt's own text: the end of it once more.
        cache.crop(-5)
        assert cache.get_seq_length() == length - 2
        step(model, cache, one["input_ids"][:, -2:])
        torch.testing.assert_close(step(model, cache, ids), expected, atol=1e-4, rtol=1e-3)

        cache = prefilled(model, one)
        saved = io.BytesIO()
        torch.save(cache, saved)
        copied = copy.deepcopy(cache)
        step(model, cache, wrong)
        torch.testing.assert_close(step(model, copied, ids), expected)
        saved.seek(0)
        torch.testing.assert_close(step(model, torch.load(saved, weights_only=False), ids), expected)

        if name not in MROPE:  # positions of M-RoPE are the model's, of its last request
            cache = prefilled(model, one)
            between = prefilled(model, other)
            step(model, between, wrong)
            torch.testing.assert_close(step(model, cache, ids), expected)


@pytest.mark.parametrize("place", CUTS, ids=lambda place: place[0])
def test_cropped_to_before_the_media(place: Place) -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    talk = conversation(family)
    start = int((talk.first["input_ids"] == 9).nonzero()[0, 1])
    prefix = talk.first["input_ids"][:, :start]
    with autotc.apply(model, policy_of(family, place)), torch.no_grad():
        expected = model(
            input_ids=torch.cat([prefix, talk.second["input_ids"]], 1), pixel_values=talk.second["pixel_values"]
        ).logits
        cache = prefilled(model, talk.first)
        cache.crop(start - talk.length)
        assert cache.get_seq_length() == start
        got = model(
            input_ids=talk.second["input_ids"], pixel_values=talk.second["pixel_values"], **{CACHE: cache}
        ).logits
    torch.testing.assert_close(got, expected[:, -got.shape[1] :], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("place", CUTS, ids=lambda place: place[0])
@pytest.mark.parametrize("name", ["llava", "internvl"])
def test_rows_picked_and_repeated(name: str, place: Place) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(family.rows)
    ids = torch.tensor([[21, 24], [22, 25], [23, 26], [27, 28]])

    def go_on(cache: Any, rows: list[int], ids: Tensor) -> Tensor:
        mask = torch.cat([inputs["attention_mask"][rows], torch.ones_like(ids)], 1)
        positions = mask.cumsum(1)[:, -ids.shape[1] :] - 1
        out: Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, **{CACHE: cache}).logits
        return out

    with autotc.apply(model, policy_of(family, place)), torch.no_grad():
        expected = go_on(prefilled(model, inputs), [0, 1, 2, 3], ids)
        for rows in ([3, 0], [2], [1, 1, 3]):
            cache = prefilled(model, inputs)
            cache.batch_select_indices(torch.tensor(rows))
            torch.testing.assert_close(go_on(cache, rows, ids[rows]), expected[rows], atol=1e-5, rtol=1e-4)
        cache = prefilled(model, inputs)
        cache.reorder_cache(torch.tensor([3, 2, 1, 0]))
        got = go_on(cache, [3, 2, 1, 0], ids.flip(0))
        torch.testing.assert_close(got, expected.flip(0), atol=1e-5, rtol=1e-4)
        cache = prefilled(model, inputs)
        cache.batch_repeat_interleave(2)
        rows = [0, 0, 1, 1, 2, 2, 3, 3]
        torch.testing.assert_close(go_on(cache, rows, ids[rows]), expected[rows], atol=1e-5, rtol=1e-4)


def test_what_cannot_be_followed_is_refused() -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    one, many = family.request(family.rows[:1]), family.request(family.rows[:2])
    with autotc.apply(model, policy_of(family, BY_ITEM["decoder"])), torch.no_grad():
        cache = prefilled(model, one)
        cache.layers[3].crop(-1)
        with pytest.raises(InputsError, match="no longer hold what the policy left"):
            step(model, cache, tokens(21))
        cache = prefilled(model, one)
        with pytest.raises(InputsError, match="holds 1 rows, the call has 2"):
            step(model, cache, torch.tensor([[21], [22]]))
        cache = prefilled(model, many)
        # One row has a picture where the other has two.
        with pytest.raises(InputsError, match="rows keep different numbers"):
            cache.crop(-16)
        talk = conversation(family)
        short = talk.go_on(prefilled(model, talk.first), None)
        short["attention_mask"] = talk.second["attention_mask"]
        with pytest.raises(InputsError, match="of all tokens of the conversation"):
            model(**short)
        with pytest.raises(InputsError, match="prefill_chunk_size: 8 given"):
            model.generate(**one, max_new_tokens=2, prefill_chunk_size=8)
        features = model.model.get_image_features(one["pixel_values"])
        model(**one)
        with pytest.raises(InputsError, match="mm_encoder_outputs: the image features were not encoded"):
            model(input_ids=one["input_ids"], mm_encoder_outputs={"image": features})
    other = policy_of(family, BY_ITEM["projector"])
    with autotc.apply(model, other), torch.no_grad():
        cache = prefilled(model, one)
    with (
        autotc.apply(model, policy_of(family, BY_ITEM["decoder"])),
        torch.no_grad(),
        pytest.raises(InputsError, match="without this policy"),
    ):
        step(model, cache, tokens(21))
