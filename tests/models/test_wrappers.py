"""Models inside the wrappers of training and serving: a policy acts on what is inside, however it is called."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import autotc
from autotc.errors import UnsupportedModelError
from autotc.models import bind, find_adapter, unwrap
from autotc.policy import Policy, Stage

from .families import FAMILIES

POLICY = Policy.of([Stage(modality="image", location="decoder", layer=1, mechanism="fastv", keep_ratio=0.3)])


def lora(model: Any) -> Any:
    """A model with LoRA on its decoder, that answers otherwise than without."""
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    return peft.get_peft_model(model, config).eval()


def dispatched(model: Any) -> Any:
    from accelerate import cpu_offload

    return cpu_offload(model, torch.device("cpu"))


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "peft": lora,
    "data parallel": nn.DataParallel,
    "compiled": torch.compile,
    "dispatched": dispatched,
    "compiled peft": lambda model: torch.compile(lora(model)),
    "data parallel of peft": lambda model: nn.DataParallel(lora(model)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_inside_is_found(name: str) -> None:
    model = copy.deepcopy(FAMILIES["llava"].build())
    wrapped = WRAPPERS[name](model)
    assert unwrap(wrapped) is model
    assert find_adapter(wrapped) is find_adapter(model)
    assert bind(wrapped).reference == bind(model).reference


@pytest.mark.parametrize("name", ["peft", "data parallel", "dispatched"])
def test_a_policy_acts_through_the_wrapper(name: str) -> None:
    family = FAMILIES["llava"]
    model = copy.deepcopy(family.build())
    wrapped = WRAPPERS[name](model)
    inputs = family.request(family.rows[:1])
    with torch.no_grad():
        before = wrapped(**inputs).logits
        with autotc.apply(model, POLICY):
            expected = wrapped(**inputs).logits
        with autotc.apply(wrapped, POLICY) as handle:
            compressed = wrapped(**inputs).logits
        after = wrapped(**inputs).logits
    assert handle.stats[-1][0].realised
    assert torch.equal(compressed, expected)
    assert compressed.shape != before.shape
    assert torch.equal(after, before)


def test_a_wrapper_of_something_else_is_refused() -> None:
    wrapped = nn.DataParallel(nn.Linear(2, 2))
    assert unwrap(wrapped) is wrapped
    with pytest.raises(UnsupportedModelError, match="'DataParallel' is not supported"):
        autotc.apply(wrapped, POLICY)
