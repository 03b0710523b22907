"""What a policy cannot be right about is refused with one clear line before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import autotc
from autotc.errors import AutotcError, InputsError, PolicyError, UnsupportedModelError
from autotc.models import bind, find_adapter
from autotc.policy import ModelReference, Policy, Stage
from autotc.runtime.cache import CACHE
from tests.runtime.helpers import snapshot

from .families import FAMILIES, Family

NAMES = sorted(FAMILIES)


def modality_of(family: Family) -> Any:
    return next(m for m in find_adapter(family.build()).offers(family.build().config) if family.holds(m))


def stage(family: Family, **changes: Any) -> Stage:
    values = {"modality": modality_of(family), "location": "decoder", "layer": 2, "mechanism": "random"}
    return Stage(**{**values, "keep_ratio": 0.5, **changes})


def media(family: Family) -> dict[str, Any]:
    """A request of one row with media of the family's first modality."""
    return family.request([next(row for row in family.rows if modality_of(family) in row)])


@pytest.mark.parametrize("name", NAMES)
def test_policies_of_another_model(name: str) -> None:
    family = FAMILIES[name]
    model = family.build()
    other = "LlavaForConditionalGeneration" if name != "llava" else "Gemma3ForConditionalGeneration"
    mine, depth = bind(model).reference, bind(model).depths.decoder
    wrong = (
        (ModelReference(architecture=other), {}, f"model.architecture: the policy is for {other}"),
        (ModelReference(architecture=mine.architecture, fingerprint="sha256:0"), {}, "model.fingerprint"),
        (None, {"layer": depth}, rf"stages\.0\.layer: {depth} given; the decoder has layers 0 to {depth - 1}"),
        (None, {"layer": 0, "mechanism": "fastv"}, "needs last_query_attention of the layer before"),
    )
    before = snapshot(model)
    for reference, changes, message in wrong:
        with pytest.raises(PolicyError, match=message):
            autotc.apply(model, Policy.of([stage(family, **changes)], reference))
        assert snapshot(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_places_that_a_family_does_not_offer(name: str) -> None:
    family = FAMILIES[name]
    model = family.build()
    adapter = find_adapter(model)
    for modality, offered in adapter.offers(model.config).items():
        for location in {"input", "encoder"} - {*offered}:
            layer = 0 if location == "encoder" else None
            mechanism = "downsample" if location == "input" else "random"
            policy = Policy.of([stage(family, modality=modality, location=location, layer=layer, mechanism=mechanism)])
            with pytest.raises(PolicyError) as caught:
                autotc.apply(model, policy)
            assert f"offers no {location} stage for {modality} ({adapter.refused[modality][location]})" in str(
                caught.value
            )  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_that_do_not_fit_their_media(name: str) -> None:
    """Nothing runs: neither a tower nor a decoder layer."""
    family = FAMILIES[name]
    model: Any = family.build()
    adapter = find_adapter(model)
    modality = modality_of(family)
    inputs = media(family)
    placeholder = adapter.placeholders(model.config)[modality]
    column = int((inputs["input_ids"][0] == placeholder).nonzero()[0])
    short = dict(inputs)
    short["input_ids"] = inputs["input_ids"].clone()
    short["input_ids"][0, column] = 25
    square = {**inputs, "attention_mask": torch.ones(1, 1, *(2 * [inputs["input_ids"].shape[1]]))}
    ran: list[str] = []
    modules = [*adapter.blocks(model, modality), *adapter.layers(model)]
    hooks = [m.register_forward_pre_hook(lambda module, args: ran.append(type(module).__name__)) for m in modules]
    try:
        with autotc.apply(model, Policy.of([stage(family)])), torch.no_grad():
            with pytest.raises(InputsError, match=rf"{modality}: \d+ placeholder tokens for \d+ features"):
                model(**short)
            with pytest.raises(InputsError, match="attention_mask: the policy needs the 2-D mask"):
                model(**square)
            assert ran == []
            model(**inputs)  # a refusal leaves nothing behind
            assert ran
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("name", NAMES)
def test_caches_that_were_not_made_under_the_policy(name: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = media(family)
    with torch.no_grad():
        foreign = model(**inputs, use_cache=True)[CACHE]
    step = {
        "input_ids": torch.tensor([[21]]),
        "attention_mask": torch.ones(1, inputs["input_ids"].shape[1] + 1, dtype=torch.long),
    }
    policy = Policy.of([stage(family)])
    with autotc.apply(model, policy), torch.no_grad():
        with pytest.raises(InputsError, match=f"{CACHE}: the cache was made without this policy"):
            model(**step, **{CACHE: foreign})
        own = model(**inputs, use_cache=True)[CACHE]
        # A later turn may bring media (test_conversations), with the mask of all that was said.
        with pytest.raises(InputsError, match="of all tokens of the conversation"):
            model(**inputs, use_cache=True, **{CACHE: own})
        with pytest.raises(InputsError, match="a static cache cannot hold layers of different lengths"):
            model.generate(**inputs, max_new_tokens=2, cache_implementation="static", suppress_tokens=[*range(20)])


def test_classes_that_no_adapter_knows() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'Linear' is not supported; .*one file in autotc/models/"):
        autotc.apply(torch.nn.Linear(2, 2), Policy())


def test_placeholders_of_the_older_qwen2_audio_processor() -> None:
    """One placeholder a clip, which the model itself would expand."""
    family = FAMILIES["qwen2_audio"]
    inputs = media(family)
    ids = inputs["input_ids"][0]
    first = int((ids == 9).nonzero()[0])
    kept = torch.cat([ids[: first + 1], ids[first + 1 :][ids[first + 1 :] != 9]])[None]
    older = {**inputs, "input_ids": kept, "attention_mask": torch.ones_like(kept)}
    with (
        autotc.apply(family.build(), Policy.of([stage(family)])),
        pytest.raises(AutotcError, match="audio: 1 placeholder tokens"),
    ):
        family.build()(**older)
