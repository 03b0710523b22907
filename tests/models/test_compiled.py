"""Whole models that torch.compile has wrapped, and that have run before they get a policy, after it, and without it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import autotc
from autotc.errors import InputsError
from autotc.models import find_adapter
from autotc.policy import Policy, Stage

from .families import FAMILIES


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


STAGES = {
    "encoder": Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.6),
    "projector": Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.4),
}


def served_right(compiled: Any, request: Any, expected: torch.Tensor) -> bool:
    """Whether a request was served, then rightly; a tower whose scores cannot be read is refused, never skipped."""
    try:
        logits = compiled(**request).logits
    except InputsError as error:
        if "compiled" not in str(error):
            raise
        return False
    torch.testing.assert_close(logits, expected)
    return True


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param("llava", "encoder", marks=pytest.mark.full),
        pytest.param("llava", "projector", marks=pytest.mark.full),
        pytest.param("qwen2_5_vl", "encoder", marks=pytest.mark.full),
        pytest.param("qwen2_5_vl", "projector", marks=pytest.mark.full),
    ],
)
@torch.no_grad()
def test_a_wrapped_model_that_has_run(name: str, place: str) -> None:
    family, policy = FAMILIES[name], Policy.of([STAGES[place]])
    model: Any = copy.deepcopy(family.build())
    request = family.request(family.rows[:1])
    plain = model(**request).logits
    with autotc.apply(model, policy):
        expected = model(**request).logits
    compiled: Any = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(**request).logits, plain)
    # Of the wrapper, and of the model inside it, which does not know that it was compiled.
    for given in (compiled, model):
        with autotc.apply(given, policy) as handle:
            served = sum(served_right(compiled, request, expected) for _ in range(2))
            assert len(handle.stats) == served >= (place == "projector") * 2
        torch.testing.assert_close(compiled(**request).logits, plain)


def test_a_tower_without_its_first_hook_is_refused() -> None:
    """What a compiled block that knows nothing of the policy looks like, to those behind it."""
    family = FAMILIES["llava"]
    model: Any = copy.deepcopy(family.build())
    first = find_adapter(model).blocks(model, "image")[0]
    with autotc.apply(model, Policy.of([STAGES["encoder"]])), torch.no_grad():
        first._forward_pre_hooks.clear()
        with pytest.raises(InputsError, match="runs as it was compiled without the policy"):
            model(**family.request(family.rows[:1]))
