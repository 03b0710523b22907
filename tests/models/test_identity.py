"""Stamps tell apart what gives other results, name the difference, and hold for the same model wherever it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotc.errors import DataError
from autotc.models.identity import SAMPLED, model_stamp, processor_digest, weights_digest
from autotc.stamp import Stamp

from .checkpoints import PROCESSORS
from .families import FAMILIES


def llava() -> Any:
    return copy.deepcopy(FAMILIES["llava"].build())


def one_value(model: Any) -> Any:
    model.lm_head.weight.data[3, 5] += 1.0
    return model


def swapped(model: Any) -> Any:
    weight = model.lm_head.weight.data
    weight[[2, 3]] = weight[[3, 2]]
    return model


def other_attention(model: Any) -> Any:
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (one_value, {"weights"}),
        (swapped, {"weights"}),
        (lambda model: model.to(torch.bfloat16), {"weights", "dtype"}),
        (other_attention, {"attention"}),
        (lambda model: model, set()),
        (lambda model: torch.nn.DataParallel(model), set()),
    ],
)
def test_what_differs_is_told_apart(change: Callable[[Any], Any], fields: set[str]) -> None:
    stored, now = model_stamp(llava()), model_stamp(change(llava()))
    assert {name for name in Stamp.model_fields if getattr(stored, name) != getattr(now, name)} == fields
    assert len(stored.differences(now)) == len(fields)
    assert (stored.digest() == now.digest()) == (not fields)


def test_large_tensors_are_sampled_and_summed() -> None:
    def built() -> Any:
        torch.manual_seed(0)
        return torch.nn.Linear(101, 10 * SAMPLED + 3)

    model, other = built(), built()
    assert weights_digest(model) == weights_digest(other)
    other.weight.data[-1, -2] += 1e-3
    assert weights_digest(model) != weights_digest(other)


def test_offloaded_and_quantized_weights() -> None:
    from accelerate import cpu_offload

    stored = model_stamp(llava())
    assert stored.differences(model_stamp(cpu_offload(llava(), torch.device("cpu")))) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scales = (1.0, 1.0, 1.5)
        models = [llava() for _ in scales]
        for model, scale in zip(models, scales, strict=True):
            model.lm_head.weight.data *= scale
        quantized = [torch.ao.quantization.quantize_dynamic(m, {torch.nn.Linear}, torch.qint8) for m in models]
        stamps = [model_stamp(model) for model in quantized]
    assert stamps[0] == stamps[1]
    assert stamps[0].weights != stamps[2].weights
    assert stamps[0].weights != stored.weights


def test_processors_are_told_apart() -> None:
    one, other = PROCESSORS["llava"](), PROCESSORS["llava"]()
    assert processor_digest(one) == processor_digest(other)
    other.image_processor.image_mean = [0.1, 0.2, 0.3]
    assert processor_digest(one) != processor_digest(other)
    other = PROCESSORS["llava"]()
    other.chat_template = "{{ messages }}"
    assert processor_digest(one) != processor_digest(other)


def test_stamps_are_kept_and_compared() -> None:
    stored = Stamp(architecture="A", weights="sha256:0", metric="exact", split="search, seed 0")
    assert Stamp.model_validate_json(stored.model_dump_json()) == stored
    stored.require(stored.model_copy(), "runs/x", "give another --name")
    now = stored.model_copy(update={"metric": "contains", "media": "sha256:1"})
    with pytest.raises(DataError) as caught:
        stored.require(now, "runs/x", "give another --name")
    assert str(caught.value) == (
        "runs/x: made with something else: the metric (exact there, contains here); the pictures, videos or"
        " clips (not known there, sha256:1 here); give another --name"
    )
