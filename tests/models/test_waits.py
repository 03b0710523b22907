"""How often a host waits for an accelerator, on every family and for every mechanism, on the imitated device."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import autotc
from autotc.mechanisms import MECHANISMS
from autotc.mechanisms.contract import InputMechanism

from .device import There, moved, waits
from .families import FAMILIES
from .sampling import covering, modalities, spread
from .test_exactness import Case, places, policy_of

ONCE = (
    "attention_rank",
    "cls_attention",
    "dart",
    "dart_embedding",
    "dual_attention",
    "evs",
    "fastv",
    "fitprune",
    "g_prune",
    "pyramiddrop",
    "received_attention",
    "rep_shift",
    "text_attention",
    "text_similarity",
    "uniform_stride",
    "withdraw",
)
"""Mechanisms that wait for nothing but the mask of what is kept."""
HOME = Path(autotc.__file__).parent
OF_MECHANISMS = {path.name for room in ("mechanisms", "kernels") for path in (HOME / room).rglob("*.py")}
OF_FAMILIES = {path.name for path in (HOME / "models").glob("*.py")}
SHAPES = 3
"""Most often that a family reads the shapes of a request's media of one modality."""
STEPS = 32
"""Waits of a mechanism that do not grow with its tokens, at most; one more for each token where it picks one by one."""


def cases() -> list[Any]:
    """Every legal case; the default run meets every mechanism once, and every place of every family."""
    names = tuple(name for name, cls in MECHANISMS.items() if not issubclass(cls, InputMechanism))
    firsts = {case[:4]: case for case in reversed(places(names))}
    return covering(spread(firsts.values()), lambda case: {case[3], case[:3]})


@cache
def there(name: str) -> tuple[Any, dict[str, Any], int]:
    """A family's model and request on the imitated device, and how often the bare model waits."""
    family = FAMILIES[name]
    model: Any = copy.deepcopy(family.build())
    # Experts one by one: their grouped kernel counts on types that the host's does not take.
    model.config.get_text_config()._experts_implementation_internal = "eager"
    moved(model)
    request = family.request(family.rows)
    inputs = {key: There(value) if isinstance(value, Tensor) else value for key, value in request.items()}
    with waits() as count:
        model(**inputs)
        assert set(count) <= {"model"}
        return model, inputs, count["model"]


@pytest.mark.parametrize("case", cases())
def test_the_runtime_waits_a_fixed_number_of_times(case: Case) -> None:
    """For ids and mask of a request, shapes of its media, what its towers mask and the holes they leave.

    What a mechanism waits for is its own: some steps, and once a token at most.
    """
    name, modality, location, mechanism, _ = case
    model, inputs, bare = there(name)
    with waits() as count, autotc.apply(model, policy_of(*case[1:], 0.3)) as handle:
        model(**inputs)
        track = handle.last[modality]  # type: ignore[index]
        tokens = sum(item.count for item in track.items)
    assert count.pop("model", 0) <= bare
    assert count.pop("prefill.py _valid") == 1
    assert count.pop("encoders.py check") == 1
    assert count.pop("prefill.py _drop_holes", 0) == int(location == "encoder")
    # What attends to what: windows and the whole, or the mask of padding; none where nothing is asked of the tower.
    towers = sum(count.pop(f"towers.py {where}", 0) for where in ("_call_packed", "_tile_mask"))
    assert towers <= (0 if location == "decoder" else 2)
    # Whether weights of merged sums are finite.
    assert count.pop("steps.py run", 0) <= 1
    rules = {where: often for where, often in count.items() if where.split()[0] in OF_MECHANISMS}
    read = {where: often for where, often in count.items() if where.split()[0] in OF_FAMILIES}
    assert {**rules, **read} == dict(count)
    assert sum(read.values()) <= SHAPES * len(modalities(FAMILIES[name]))
    if mechanism in ONCE and location != "encoder":  # in a tower, once for each part that sees itself alone
        assert rules == {"reduction.py select": 1}
    assert 1 <= sum(rules.values()) <= STEPS + tokens
