"""Fine-tuning under a policy: the loss is that of the shortened sequence, and gradients are its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import autotc
from autotc.errors import InputsError
from autotc.models import find_adapter
from autotc.policy import Policy, Stage
from autotc.runtime.apply import Handle

from .families import FAMILIES, Family
from .test_exactness import main_modality, offered

NAMES = sorted(FAMILIES)
PLACES = {
    "encoder": ("encoder", "tome", 0),
    "projector": ("projector", "divprune", None),
    "decoder": ("decoder", "fastv", 2),
    "first layer": ("decoder", "random", 0),
}


def stage_of(family: Family, place: str, keep: float = 0.4) -> Policy:
    location, mechanism, layer = PLACES[place]
    modality = main_modality(family)
    if not offered(family, modality, location, mechanism):
        pytest.skip(f"{family.name} offers no {mechanism} at the {location}")
    stage = {"modality": modality, "location": location, "mechanism": mechanism, "layer": layer, "keep_ratio": keep}
    return Policy.model_validate({"stages": [stage]})


def labels_of(inputs: dict[str, Any], family: Family) -> Tensor:
    """The tokens themselves, but for padding and placeholders."""
    labels: Tensor = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    for token in find_adapter(family.build()).placeholders(family.build().config).values():
        labels = labels.masked_fill(labels == token, -100)
    return labels


def shortened(handle: Handle, family: Family, inputs: dict[str, Any], labels: Tensor, width: int) -> Tensor:
    """Labels (B, width) of the tokens left, worked out one by one from what the handle says is left of each item."""
    placeholders = {**find_adapter(family.build()).placeholders(family.build().config)}
    kept = inputs["attention_mask"].bool().clone()
    taken = dict.fromkeys(placeholders, 0)
    for row in range(len(kept)):
        for modality, track in handle.last.items():
            columns = (inputs["input_ids"][row] == placeholders[modality]).nonzero()[:, 0].tolist()
            while columns:
                item = track.items[taken[modality]]
                ids = track.ids[taken[modality]]
                alive = {int(item.offsets()[unit]) for unit in ids[ids >= 0]}
                offered_places = set(item.offsets().tolist())
                for at in range(item.slots):
                    if at in offered_places and at not in alive:
                        kept[row, columns[at]] = False
                columns = columns[item.slots :]
                taken[modality] += 1
    out = torch.full((len(kept), width), -100)
    for row in range(len(kept)):
        left = labels[row][kept[row]]
        out[row, width - len(left) :] = left
    return out


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_that_of_the_shortened_sequence(name: str, place: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    policy, inputs = stage_of(family, place), family.request(family.rows)
    labels = labels_of(inputs, family)
    with autotc.apply(model, policy) as handle, torch.no_grad():
        out = model(**inputs, labels=labels)
        expected_labels = shortened(handle, family, inputs, labels, out.logits.shape[1])
    assert out.logits.shape[1] < labels.shape[1]
    logits = out.logits[:, :-1].flatten(0, 1).float()
    expected = torch.nn.functional.cross_entropy(logits, expected_labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(out.loss, expected)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_left_alone_where_nothing_goes(name: str) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    inputs = family.request(family.rows)
    labels = labels_of(inputs, family)
    text = family.request([{"seed": 3}, {"seed": 4, "text": 7}])
    with torch.no_grad():
        plain = model(**inputs, labels=labels).loss
        plain_text = model(**text, labels=labels_of(text, family)).loss
    with autotc.apply(model, stage_of(family, "decoder", 1.0)), torch.no_grad():
        assert torch.equal(model(**inputs, labels=labels).loss, plain)
    with autotc.apply(model, stage_of(family, "decoder")), torch.no_grad():
        assert torch.equal(model(**text, labels=labels_of(text, family)).loss, plain_text)


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    out = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return out


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["gemma3", "internvl", "llava", "qwen2_5_vl", "qwen2_audio", "qwen3_vl"])
def test_gradients_flow(name: str, place: str) -> None:
    """They are finite everywhere, holes or not, and say how the loss changes."""
    family = FAMILIES[name]
    model: Any = family.build()
    policy, inputs = stage_of(family, place), family.request(family.rows)
    labels = labels_of(inputs, family)
    with torch.no_grad():
        plain = model(**inputs).logits
    try:
        with autotc.apply(model, policy):
            loss = model(**inputs, labels=labels).loss
            grads = gradients(model, loss)
            assert all(bool(torch.isfinite(grad).all()) for grad in grads.values())
            towers = [grad for key, grad in grads.items() if "visual" in key or "tower" in key or "audio" in key]
            assert any(bool(grad.any()) for grad in towers)
            # Along a direction in the last norm and the head, which no choice of tokens depends on.
            adapter = find_adapter(model)
            key = next(k for k, p in model.named_parameters() if p is adapter.layers(model)[-1].mlp.down_proj.weight)
            weight, step = dict(model.named_parameters())[key], 1e-3
            direction = grads[key] / grads[key].norm()
            with torch.no_grad():
                weight += step * direction
                higher = model(**inputs, labels=labels).loss
                weight -= 2 * step * direction
                lower = model(**inputs, labels=labels).loss
                weight += step * direction
        torch.testing.assert_close((higher - lower) / (2 * step), grads[key].norm(), atol=1e-2, rtol=2e-2)
    finally:
        family.build.cache_clear()  # type: ignore[attr-defined]
    assert plain is not None


def test_options_of_the_loss() -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    policy, inputs = stage_of(family, "decoder"), family.request(family.rows)
    labels = labels_of(inputs, family)
    with autotc.apply(model, policy), torch.no_grad():
        mean = model(**inputs, labels=labels).loss
        total = model(**inputs, labels=labels, num_items_in_batch=1).loss
        as_tuple = model(**inputs, labels=labels, return_dict=False)[0]
    assert torch.equal(as_tuple, mean)
    assert float(total) > float(mean)


def test_layers_that_run_twice_are_refused() -> None:
    family = FAMILIES["llava"]
    model: Any = family.build()
    inputs = family.request(family.rows)
    labels = labels_of(inputs, family)
    model.train()
    model.gradient_checkpointing_enable()
    try:
        with autotc.apply(model, stage_of(family, "projector")):
            gradients(model, model(**inputs, labels=labels).loss)
        for place in ("decoder", "encoder"):
            with (
                autotc.apply(model, stage_of(family, place)),
                pytest.raises(InputsError, match="gradient_checkpointing: it runs layers again"),
            ):
                model(**inputs, labels=labels)
    finally:
        model.gradient_checkpointing_disable()
        family.build.cache_clear()  # type: ignore[attr-defined]


def test_two_stages_in_one_policy() -> None:
    family = FAMILIES["qwen2_5_vl"]
    model: Any = family.build()
    policy = Policy.of(
        [
            Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.6),
            Stage(modality="image", location="decoder", mechanism="fastv", layers={1: 0.4, 3: 0.2}),
            Stage(modality="video", location="decoder", mechanism="random", layer=2, keep_ratio=0.3),
        ]
    )
    inputs = family.request(family.rows)
    labels = labels_of(inputs, family)
    with autotc.apply(model, policy) as handle, torch.no_grad():
        out = model(**inputs, labels=labels)
        expected_labels = shortened(handle, family, inputs, labels, out.logits.shape[1])
    logits = out.logits[:, :-1].flatten(0, 1).float()
    expected = torch.nn.functional.cross_entropy(logits, expected_labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(out.loss, expected)
