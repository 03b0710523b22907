"""Decoders with recurrent layers: where attention can be read, what a cache keeps, and what cannot be followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import autotc
from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import ConflictError, InputsError, PolicyError
from autotc.models import bind, bind_config
from autotc.models.published import published_config
from autotc.policy import Policy, Stage
from autotc.presets import get_preset
from autotc.runtime.cache import CACHE
from autotc.search.space.model import Choice

from .families import FAMILIES

HYBRIDS = [name for name, family in FAMILIES.items() if bind(family.build()).depths.recurrent]
DEEP = Depths(32, {"image": 27}, recurrent=tuple(layer for layer in range(32) if layer % 4 != 3))
"""As Qwen3.5-9B: attention in layers 3, 7, ..., 31."""


def decoder(mechanism: str, layer: int, keep: float = 0.4) -> Policy:
    return Policy.of([Stage(modality="image", location="decoder", layer=layer, mechanism=mechanism, keep_ratio=keep)])


def test_the_released_model_has_attention_in_every_fourth_layer() -> None:
    depths = bind_config(published_config("qwen3.5-9b"), "Qwen3_5ForConditionalGeneration").depths
    assert depths == Depths(32, {"image": 27, "video": 27}, recurrent=DEEP.recurrent, family="qwen3_5")


@pytest.mark.parametrize(
    ("offset", "layer", "expected"),
    [(-1, 2, 4), (-1, 4, 4), (-1, 6, 8), (-1, 31, 28), (0, 2, 3), (0, 5, 7), (None, 2, 2)],
)
def test_the_nearest_layer(offset: int | None, layer: int, expected: int) -> None:
    assert DEEP.nearest_scored(layer, offset) == expected


def test_presets_and_spaces_stand_where_attention_is() -> None:
    (stage,) = get_preset("fastv").build("image", DEEP, 0.5)
    assert stage.layer == 4  # published behind layer 2
    steps = [layer for stage in get_preset("pyramiddrop").build("image", DEEP, 0.2) for layer, _ in stage.steps()]
    assert steps
    assert not {*steps} & {*DEEP.recurrent}
    reading = Choice(mechanism="fastv", location="decoder", depth=(0.06, 0.5), keep_ratio=(0.1, 0.9))
    assert reading.placed("image", DEEP).layers == (4, 8, 12, 16)
    free = Choice(mechanism="divprune", location="decoder", depth=(0.0, 0.1), keep_ratio=(0.1, 0.9))
    assert free.placed("image", DEEP).layers == (0, 1, 2, 3)


def test_a_tower_deeper_than_the_decoder_is_its_own_measure() -> None:
    short = Depths(8, {"image": 32}, recurrent=(0, 1, 2, 4, 5, 6), shared=4)
    (stage,) = get_preset("folder").build("image", short, 0.1)
    assert stage.layer == 30
    inner = Choice(mechanism="tome", location="encoder", depth=(0.8, 0.9), keep_ratio=(0.1, 0.9))
    assert inner.placed("image", short).layers == (26, 27, 28)


def test_no_stage_stands_where_keys_are_taken_from_earlier_layers() -> None:
    shared = Depths(30, {"image": 16}, shared=14)
    assert [shared.nearest_scored(layer, -1) for layer in (2, 13, 14, 29)] == [2, 13, 13, 13]
    late = Choice(mechanism="divprune", location="decoder", depth=(0.4, 0.9), keep_ratio=(0.1, 0.9))
    assert late.placed("image", shared).layers == (12, 13)
    with pytest.raises(ConflictError, match="layers from 14 on take their keys from earlier ones; 0 to 13 are allowed"):
        check_rules(decoder("divprune", 14), shared)


@pytest.mark.parametrize("name", HYBRIDS)
def test_attention_is_read_where_it_is(name: str) -> None:
    bound = bind(FAMILIES[name].build())
    with pytest.raises(PolicyError, match=r"stages\.0\.layer: 1 given; fastv reads .* recurrent; 2 is the nearest"):
        bound.validate(decoder("fastv", 1))
    with pytest.raises(ConflictError, match="layer 0 is recurrent and has no attention to read; use 2"):
        check_rules(decoder("fastv", 1), bound.depths)
    bound.validate(decoder("fastv", 2))
    check_rules(decoder("fastv", 2), bound.depths)
    bound.validate(decoder("divprune", 1))


@pytest.mark.parametrize("name", HYBRIDS)
def test_rows_of_a_later_turn_that_differ_are_refused(name: str) -> None:
    """Padding between turns would pass through the state: the bare model itself is wrong there."""
    family = FAMILIES[name]
    model: Any = family.build()
    rows = [{"image": [(4, 6)], "seed": 1}, {"image": [(3, 3)], "seed": 2}]
    first = family.request([{"seed": 3, "text": 5}, {"seed": 4, "text": 5}])
    second = family.request(rows)
    mask = torch.cat([first["attention_mask"], second["attention_mask"]], 1)
    with autotc.apply(model, decoder("random", 1)), torch.no_grad():
        cache = model(**first, use_cache=True)[CACHE]
        where = torch.arange(mask.shape[1]).expand(3, 2, -1)[..., first["input_ids"].shape[1] :]
        with pytest.raises(InputsError, match="rows of a later turn differ in length"):
            model(**{**second, "attention_mask": mask, CACHE: cache, "position_ids": where})
