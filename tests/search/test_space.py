"""Search spaces: suggest and encode are inverse, and wrong files are told in one line."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotc.depths import Depths
from autotc.policy import Policy
from autotc.resources import search_space
from autotc.search.space import Choice, SearchSpace, SpaceError
from autotc.search.space.model import MOST_LAYERS
from autotc.search.space.schedules import falls, line, sigmoid

DEPTHS = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
SHIPPED = sorted(search_space().parent.glob("*.yaml"))
MINIMAL = """
version: 1
modalities:
  image:
    choices:
      - {mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8]}
"""


def default() -> SearchSpace:
    """The default space on the embedded model."""
    return SearchSpace.load(search_space()).fit(("image", "video", "audio"), DEPTHS)


@pytest.fixture(params=[0, 1])
def trials(request: pytest.FixtureRequest) -> list[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=request.param))
    return [study.ask() for _ in range(150)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_load_and_fit(path: Path) -> None:
    space = SearchSpace.load(path)
    fitted = space.fit(("image", "video", "audio"), DEPTHS)
    assert fitted.fit(("image", "video", "audio"), DEPTHS) == fitted
    assert all(choice.depth is None for part in fitted.modalities.values() for choice in part.choices)
    assert SearchSpace.from_yaml(space.to_yaml()) == space
    deep = space.fit(space.modalities, Depths(80, dict.fromkeys(space.modalities, 48)))
    for part in deep.modalities.values():
        assert all(len(choice.layers) == MOST_LAYERS for choice in part.choices if choice.layers)
    # On a model of two layers, schedules over several are left out.
    flat = space.fit(("image", "video", "audio"), Depths(2, dict.fromkeys(("image", "video", "audio"), 1)))
    assert SearchSpace.from_yaml(flat.to_yaml()) == flat


def test_encode_is_the_inverse_of_suggest(trials: list[optuna.Trial]) -> None:
    space = default()
    lengths, schedules, compared = set(), set(), 0
    for trial in trials:
        policy = space.suggest(trial)
        params = space.encode(policy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = optuna.trial.FixedTrial(params)
            assert space.suggest(again) == policy
        assert space.distributions(params) == again.distributions
        # Where a stage was left nothing to choose, a policy has a shorter description than what was drawn.
        if all(ratio > 0.05 for stage in policy.stages for _, ratio in stage.steps()):
            assert params == trial.params
            compared += 1
        lengths.update(len(policy.modality(m)) for m in space.modalities)
        schedules.update(s.layers is not None for s in policy.stages if s.location == "decoder")
    assert lengths == {0, 1, 2}
    assert schedules == {True, False}
    assert compared > 50


def test_every_schedule_is_encoded(trials: list[optuna.Trial]) -> None:
    text = (
        "version: 1\nmodalities:\n  image:\n    max_stages: 3\n    choices:\n"
        "      - {mechanism: tome, location: encoder, layers: [0, 1], keep_ratio: [0.5, 0.9]}\n"
        "      - {mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8]}\n"
        "      - {mechanism: fastv, location: decoder, layers: [1, 2, 3, 4], keep_ratio: [0.05, 0.8],"
        " schedules: [single, step, free, linear, sigmoid]}\n"
    )
    space = SearchSpace.from_yaml(text)
    drawn: dict[str, int] = {}
    for trial in trials:
        policy = space.suggest(trial)
        params = space.encode(policy)
        assert space.suggest(optuna.trial.FixedTrial(params)) == policy
        for stage in policy.stages:
            assert all(a > b for (_, a), (_, b) in itertools.pairwise(stage.steps()))
        found = params.get("image.fastv@decoder.schedule")
        drawn[str(found)] = drawn.get(str(found), 0) + 1
    assert set(drawn) >= {"single", "step", "free", "linear", "sigmoid"}


def test_sigmoid_schedules_fall_from_the_first_ratio_to_the_last() -> None:
    steps = falls([0, 1, 2, 3, 4], sigmoid([0, 1, 2, 3, 4], 80, 10, 2.0, 2.0))
    assert steps[0] == 80
    assert steps[4] == 10
    assert steps[2] == 45  # half way down in the middle
    assert steps[1] > 70
    assert falls([0, 1, 2], line([0, 1, 2], 80, 20)) == {0: 80, 1: 50, 2: 20}


def _image(**stage: Any) -> Policy:
    return Policy.model_validate({"stages": [{"modality": "image", **stage}]})


@pytest.mark.parametrize(
    "stage",
    [
        {"location": "projector", "mechanism": "divprune", "keep_ratio": 0.51},
        {"location": "projector", "mechanism": "divprune", "keep_ratio": 0.95},
        {"location": "projector", "mechanism": "divprune", "keep_ratio": 1 / 3},
        {"location": "decoder", "layer": 5, "mechanism": "fastv", "keep_ratio": 0.5},
        {"location": "decoder", "layers": {1: 0.5, 5: 0.25}, "mechanism": "fastv"},
    ],
)
def test_policies_outside_are_refused(stage: dict[str, Any]) -> None:
    space = default()
    with pytest.raises(SpaceError):
        space.encode(_image(**stage))
    assert not any(key.startswith("image") for key in space.encode_known(_image(**stage)))


def test_modality_outside_is_refused() -> None:
    space = SearchSpace.from_yaml(MINIMAL)
    policy = Policy.model_validate(
        {"stages": [{"modality": "video", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.5}]}
    )
    with pytest.raises(SpaceError, match="video"):
        space.encode(policy)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("choices", "choises", "modalities.image.choi"),
        ("divprune", "divprun", "did you mean 'divprune'"),
        ("[0.2, 0.8]", "[0, 0.8]", "modalities.image.choices.0.keep_ratio: [0, 0.8] given"),
        ("[0.2, 0.8]", "[0.2, 1.2]", "0 < low <= high <= 1"),
        ("[0.2, 0.8]", "[0.22, 0.8]", "multiples of the step 0.05"),
        ("projector", "input", "modalities.image.choices.0.location"),
        ("projector", "encoder", "modalities.image.choices.0.layers: missing"),
        ("location: projector", "location: projector, layers: [1]", "modalities.image.choices.0.layers"),
        (
            "location: projector",
            "location: projector, depth: [0, 1]",
            "modalities.image.choices.0.depth: [0.0, 1.0] given",
        ),
        ("divprune, location: projector", "tome, location: encoder, depth: [0.5, 0.1]", "0 <= low <= high <= 1"),
        (
            "divprune, location: projector",
            "tome, location: encoder, layers: [1], depth: [0, 1]",
            "one of the two is right",
        ),
        ("image", "smell", "smell"),
        ("modalities:", "step: 0.013\nmodalities:", "step: 0.013"),
        ("    choices:", "    presets: [fastw]\n    choices:", "modalities.image.presets.0: unknown preset 'fastw'"),
        ("    choices:", "    max_stages: 0\n    choices:", "modalities.image.max_stages"),
        (MINIMAL, "", "is empty"),
        (MINIMAL, "[1, 2", "is not YAML"),
        (MINIMAL, "- 1", "holds list"),
    ],
)
def test_wrong_files_are_told_in_oneline(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(SpaceError) as caught:
        SearchSpace.load(path)
    assert str(caught.value).startswith(f"{path}:")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(SpaceError, match=said):
            SearchSpace.load(path)


def test_layers_out_of_range_are_named() -> None:
    space = default()
    with pytest.raises(SpaceError, match="the decoder has 3 layers, 0 to 2 are allowed"):
        space.fit(("image",), Depths(3, DEPTHS.encoder))
    with pytest.raises(SpaceError, match="the data holds smell"):
        space.fit(("smell",), DEPTHS)


@pytest.mark.parametrize(
    ("depth", "layers", "expected"),
    [
        ((0.06, 0.5), 6, (1, 2, 3)),
        ((0, 0.34), 3, (0, 1)),
        ((0.06, 0.5), 2, (1,)),
        ((0.06, 0.5), 32, (2, 4, 6, 8, 10, 12, 14, 16)),
        ((0.4, 0.45), 5, (2,)),
        ((0.41, 0.45), 5, (2,)),  # none lies between: the nearest
        ((0.9, 1), 4, (3,)),
    ],
)
def test_shares_of_a_depth_become_layers(depth: tuple[float, float], layers: int, expected: tuple[int, ...]) -> None:
    choice = Choice(mechanism="rep_shift", location="decoder", depth=depth, keep_ratio=(0.1, 0.9))
    placed = choice.placed("image", Depths(layers, {}))
    assert (placed.layers, placed.depth) == (expected, None)


def test_places_that_a_model_lacks_are_left_out() -> None:
    space = default()
    offered = {"image": ("projector", "decoder"), "video": ("input",), "audio": ("encoder",)}
    left, lacking = space.offered(offered)
    assert {choice.location for choice in left.modalities["image"].choices} == {"projector", "decoder"}
    assert "image tome@encoder" in lacking
    assert "video downsample@input" not in lacking
    with pytest.raises(SpaceError, match=r"modalities.audio: the model offers none of its locations; it offers input"):
        SearchSpace.load(search_space("decoder")).offered({**offered, "video": ("decoder",), "audio": ("input",)})
