"""Engines' counts on every family that takes video: what runs, what is recorded and what is charged are one number."""

from __future__ import annotations

import pytest
import torch

import autotc
from autotc.cost import prefill_cost, request_shapes
from autotc.models import bind
from autotc.policy import Policy, Stage

from .families import FAMILIES

WITH_VIDEO = [name for name, family in FAMILIES.items() if any("video" in row for row in family.rows)]


def test_all_video_families_are_here() -> None:
    assert {"qwen2_vl", "qwen2_5_vl", "qwen2_5_omni", "qwen3_vl", "qwen3_omni", "llava_onevision"} <= set(WITH_VIDEO)


@pytest.mark.parametrize("mechanism", ["evs", "vidcom2"])
@pytest.mark.parametrize("name", WITH_VIDEO)
def test_runtime_and_cost_count_as_engines_do(name: str, mechanism: str) -> None:
    family = FAMILIES[name]
    model, request = family.build(), family.request(family.rows)
    bound = bind(model)
    shapes = request_shapes(bound, request)
    grids = [item.grid for shape in shapes for item in shape.items if item.modality == "video"]
    assert len(grids) > 1
    for keep in (0.15, 0.55):
        stage = Stage(
            modality="video",
            location="projector",
            layer=None,
            mechanism=mechanism,
            keep_ratio=keep,
            params={"counting": "engine"},
        )
        policy = Policy(stages=(stage,))
        with autotc.apply(model, policy) as handle, torch.no_grad():
            model(**request)
        (stats,) = handle.stats[-1]
        floors = [y * x if mechanism == "evs" else t for t, y, x in grids]
        expected = [max(least, int(t * y * x * keep)) for least, (t, y, x) in zip(floors, grids, strict=True)]
        assert stats.realised == expected
        assert stats.requested == expected
        assert prefill_cost(bound, policy, shapes).tokens["video"] == sum(expected)
