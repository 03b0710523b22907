"""What servers do with a model: compile it, spread it over devices, run several at once, keep the device busy."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from torch._dynamo.testing import CompileCounter

import autotc
from autotc.models import find_adapter
from autotc.policy import Policy, Stage

from .bare import OFFLOADED
from .device import There, moved, waits
from .families import FAMILIES
from .test_exactness import standing

STACK = Policy.of(
    [
        Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.6),
        Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.3),
    ]
)


@pytest.mark.parametrize("kwargs", [{}, {"use_cache": False}], ids=["cache", "no cache"])
@pytest.mark.parametrize("how", ["language model", "layers"])
@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_requests_of_one_shape_compile_once(name: str, how: str, kwargs: dict[str, Any]) -> None:
    torch._dynamo.reset()
    family = FAMILIES[name]
    model: Any = copy.deepcopy(family.build())
    requests = [family.request([family.rows[0] | {"seed": 50 + i}]) for i in range(3)]
    with torch.no_grad():
        plain = model(**requests[0], **kwargs).logits
        with autotc.apply(model, STACK):
            expected = [model(**request, **kwargs).logits for request in requests]
    counter = CompileCounter()
    adapter = find_adapter(model)
    for part in [adapter.language_model(model)] if how == "language model" else adapter.layers(model):
        part.compile(backend=counter)
    with torch.no_grad():
        assert torch.allclose(model(**requests[0], **kwargs).logits, plain)
        before, frames = counter.frame_count, []
        with autotc.apply(model, STACK):
            for request, logits in zip(requests, expected, strict=True):
                torch.testing.assert_close(model(**request, **kwargs).logits, logits)
                frames.append(counter.frame_count)
        # Hooks that have gone must not live on in what was compiled.
        assert torch.allclose(model(**requests[0], **kwargs).logits, plain)
    assert frames[0] > before
    assert frames[1:] == frames[:1] * 2
    torch._dynamo.reset()


def test_what_compile_returns_can_be_given_a_policy() -> None:
    family = FAMILIES["llava"]
    model: Any = copy.deepcopy(family.build())
    request = family.request(family.rows[:1])
    with autotc.apply(model, STACK), torch.no_grad():
        expected = model(**request).logits
    compiled: Any = torch.compile(model, backend="eager")
    with autotc.apply(compiled, STACK), torch.no_grad():
        torch.testing.assert_close(compiled(**request).logits, expected)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_offloaded_and_dispatched_models(name: str) -> None:
    """Hooks of accelerate, which bring weights in layer by layer, and ours do not get in each other's way."""
    family = FAMILIES[name]
    adapter = find_adapter(family.build())
    modality = next(m for m in adapter.offers(family.build().config) if family.holds(m))
    layer = standing(family, "pyramiddrop", 2)
    own = Stage(modality=modality, location="decoder", layer=layer, mechanism="pyramiddrop", keep_ratio=0.3)
    wide = Stage(modality=modality, location="projector", mechanism="divprune", keep_ratio=0.6)
    policy = Policy.of([wide, own])
    request = family.request(family.rows)
    with autotc.apply(family.build(), policy), torch.no_grad():
        expected = family.build()(**request).logits
    offloaded: Any = cpu_offload(copy.deepcopy(family.build()), execution_device=torch.device("cpu"))
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    dispatched: Any = dispatch_model(copy.deepcopy(family.build()), {"": "cpu"})
    if name in OFFLOADED:
        with torch.no_grad(), pytest.raises(RuntimeError, match="meta"):
            offloaded(**request)
    for model in (dispatched,) if name in OFFLOADED else (offloaded, dispatched):
        with autotc.apply(model, policy), torch.no_grad():
            assert torch.equal(model(**request).logits, expected)


def test_two_models_in_two_threads() -> None:
    names = ("llava", "qwen2_5_vl")
    alone, together = {}, {}

    def work(name: str, out: dict[str, Any], model: Any, rounds: int) -> None:
        family = FAMILIES[name]
        request = family.request(family.rows)
        with autotc.apply(model, STACK) as handle, torch.no_grad():
            logits = [model(**request).logits for _ in range(rounds)]
        assert all(torch.equal(logits[0], other) for other in logits)
        out[name] = logits[0], [stage.realised for stage in handle.stats[-1]]

    models = {name: copy.deepcopy(FAMILIES[name].build()) for name in names}
    for name in names:
        work(name, alone, models[name], 1)
    threads = [threading.Thread(target=work, args=(name, together, models[name], 8)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert torch.equal(alone[name][0], together[name][0])
        assert alone[name][1] == together[name][1]


ONE = {
    "decoder": (
        "attention_rank",
        "dart",
        "dual_attention",
        "fastv",
        "fitprune",
        "pyramiddrop",
        "received_attention",
        "rep_shift",
        "text_attention",
        "text_similarity",
        "uniform_stride",
        "withdraw",
    ),
    "projector": ("cls_attention", "g_prune", "received_attention", "text_similarity", "uniform_stride"),
    "encoder": ("received_attention", "rep_shift", "uniform_stride"),
}
"""Selecting mechanisms that read nothing of the device themselves."""


@pytest.mark.parametrize(
    ("location", "mechanism"), [(location, name) for location, names in ONE.items() for name in names]
)
def test_the_host_waits_once_for_a_stage(location: str, mechanism: str) -> None:
    """Once for ids and mask of a request, once for what a stage keeps; where encoder stages left holes, once more."""
    family = FAMILIES["llava"]
    model: Any = moved(copy.deepcopy(family.build()))
    inputs = {key: There(value) for key, value in family.request(family.rows[:2]).items()}
    layers = {"decoder": {2: 0.6, 3: 0.3}, "encoder": {0: 0.6, 1: 0.3}}.get(location)
    keep: dict[str, Any] = {"keep_ratio": 0.5} if layers is None else {"layers": layers}
    policy = Policy.of([Stage(modality="image", location=location, mechanism=mechanism, **keep)])  # type: ignore[arg-type]
    with waits() as count:
        model(**inputs)
        assert set(count) <= {"model"}
        bare = count["model"]
        count.clear()
        with autotc.apply(model, policy):
            model(**inputs)
    assert count.pop("model", 0) <= bare
    request = count.pop("prefill.py _valid") + count.pop("encoders.py check")
    assert request == 2
    assert count.pop("prefill.py _drop_holes", 0) == int(location == "encoder")
    assert count == {"reduction.py select": len(layers or [0])}
