"""What a cache keeps of a prompt under a policy: as many bytes as the cost says, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import autotc
from autotc.cost import Request, prefill_cost
from autotc.cost.layers import STATE_BYTES
from autotc.models import bind
from autotc.policy import Policy, Stage
from autotc.runtime.cache import CACHE

from .families import FAMILIES
from .test_exactness import main_modality


def size(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def held(cache: Any) -> int:
    """Bytes of keys and values, of convolutions and of recurrent states."""
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "recurrent_states"):
            assert layer.recurrent_states[0].element_size() == STATE_BYTES
            total += size(layer.conv_states[0]) + size(layer.recurrent_states[0])
        else:
            total += size(layer.keys) + size(layer.values)
    return total


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_bytes_are_those_of_the_cache(name: str, layer: int) -> None:
    family = FAMILIES[name]
    model: Any = family.build()
    bound, modality = bind(model), main_modality(family)
    inputs = family.request(family.rows[:1])
    stage = Stage(modality=modality, location="decoder", layer=layer, mechanism="random", keep_ratio=0.4)
    for policy in (Policy(), Policy.of([stage])):
        with autotc.apply(model, policy), torch.no_grad():
            cache = model(**inputs, use_cache=True)[CACHE]
        items = [
            item
            for kind, given in bound.adapter.shape_inputs().items()
            if given in inputs
            for item in bound.geometry(kind, inputs)
        ]
        text = inputs["input_ids"].shape[1] - sum(item.count for item in items)
        assert prefill_cost(bound, policy, [Request(tuple(items), text)]).kv_bytes == held(cache)
