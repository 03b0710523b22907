"""Every rule is tripped alone by one policy, and passed by its near neighbour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotc.conflicts.rules import RULES, Context, check_rules
from autotc.depths import Depths
from autotc.errors import ConflictError
from autotc.policy import Policy

DEPTHS = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
EVERYWHERE: dict[str, Any] = dict.fromkeys(DEPTHS.encoder, ("input", "encoder", "projector", "decoder"))


def policy(*stages: dict[str, Any]) -> Policy:
    return Policy.model_validate({"stages": [{"modality": "image", **stage} for stage in stages]})


def projector(mechanism: str, keep: float, **more: Any) -> dict[str, Any]:
    return {"location": "projector", "mechanism": mechanism, "keep_ratio": keep, **more}


def decoder(mechanism: str, layer: int, keep: float, **more: Any) -> dict[str, Any]:
    return {"location": "decoder", "mechanism": mechanism, "layer": layer, "keep_ratio": keep, **more}


NO_INPUT = {**EVERYWHERE, "image": ("encoder", "projector", "decoder")}
DOWN = {"location": "input", "mechanism": "downsample", "keep_ratio": 0.6}
TOWER = {"location": "encoder", "mechanism": "tome", "layer": 2, "keep_ratio": 0.5}

CASES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = [
    ("layer_out_of_range", [decoder("fastv", 6, 0.5)], [decoder("fastv", 5, 0.5)], {}, {}),
    ("layer_out_of_range", [{**TOWER, "layer": 3}], [TOWER], {}, {}),
    ("location_unsupported", [DOWN], [DOWN], {"locations": NO_INPUT}, {"locations": EVERYWHERE}),
    (
        "grid_lost",
        [{**TOWER, "modality": "video"}, projector("evs", 0.4, modality="video")],
        [{**DOWN, "modality": "video"}, projector("evs", 0.4, modality="video")],
        {},
        {},
    ),
    (
        "keeps_more_than_left",
        [projector("divprune", 0.5), decoder("fastv", 2, 0.5)],
        [projector("divprune", 0.5), decoder("fastv", 2, 0.45)],
        {},
        {},
    ),
    (
        "same_criterion_twice",
        [decoder("fastv", 1, 0.5), decoder("fastv", 3, 0.25)],
        [decoder("rep_shift", 1, 0.5), decoder("fastv", 3, 0.25)],
        {},
        {},
    ),
    ("no_scores", [decoder("fastv", 0, 0.5)], [decoder("fastv", 1, 0.5)], {}, {}),
    (
        "recurrent_layer",
        [decoder("fastv", 2, 0.5)],
        [decoder("fastv", 3, 0.5)],
        {"depths": replace(DEPTHS, recurrent=(0, 1, 3, 4))},
        {"depths": replace(DEPTHS, recurrent=(0, 1, 3, 4))},
    ),
    ("no_text", [projector("text_similarity", 0.5)], [projector("text_similarity", 0.5)], {"has_text": False}, {}),
    (
        "single_stage_per_place",
        [projector("divprune", 0.7), projector("uniform_stride", 0.4)],
        [projector("divprune", 0.7), decoder("rep_shift", 1, 0.4)],
        {},
        {},
    ),
]


@pytest.mark.parametrize(
    ("rule", "bad", "good", "bad_with", "good_with"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_rule(
    rule: str,
    bad: list[dict[str, Any]],
    good: list[dict[str, Any]],
    bad_with: dict[str, Any],
    good_with: dict[str, Any],
) -> None:
    context = Context(**{"depths": DEPTHS, "locations": EVERYWHERE, **bad_with})
    tripped = [name for name, check in RULES.items() if check(policy(*bad), context)]
    assert tripped == [rule]
    with pytest.raises(ConflictError) as caught:
        check_rules(policy(*bad), context.depths, context.locations, has_text=context.has_text)
    assert caught.value.rule == rule
    assert str(caught.value).startswith(f"{rule}: ")
    assert "\n" not in str(caught.value)
    check_rules(policy(*good), **{"depths": DEPTHS, "locations": EVERYWHERE, **good_with})


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(RULES)


def test_unknown_model_passes_what_needs_one() -> None:
    check_rules(policy(decoder("fastv", 99, 0.5)))


def test_stacks_of_different_modalities_do_not_conflict() -> None:
    check_rules(policy(projector("divprune", 0.5), projector("divprune", 0.5, modality="video")), DEPTHS, EVERYWHERE)
