"""Search spaces: suggest and encode are inverse, and wrong files are told in one line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotc.models.base import Depths
from autotc.policy import Policy
from autotc.resources import search_space
from autotc.search.space import SearchSpace, SpaceError

DEPTHS = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
SHIPPED = sorted(search_space().parent.glob("*.yaml"))
MINIMAL = """
modalities:
  image:
    choices:
      - {mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8]}
"""


@pytest.fixture(params=[0, 1])
def trials(request: pytest.FixtureRequest) -> list[optuna.Trial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=request.param))
    return [study.ask() for _ in range(150)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_load_and_fit(path: Path) -> None:
    space = SearchSpace.load(path)
    assert space.fit(("image", "video", "audio"), DEPTHS) == space
    assert SearchSpace.from_yaml(space.to_yaml()) == space


def test_encode_is_the_inverse_of_suggest(trials: list[optuna.Trial]) -> None:
    space = SearchSpace.load(search_space())
    lengths, schedules = set(), set()
    for trial in trials:
        policy = space.suggest(trial)
        params = space.encode(policy)
        assert params == trial.params
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert space.suggest(optuna.trial.FixedTrial(params)) == policy
        assert space.distributions(params) == trial.distributions
        lengths.update(len(policy.modality(m)) for m in space.modalities)
        schedules.update(s.layers is not None for s in policy.stages if s.location == "decoder")
    assert lengths == {0, 1, 2}
    assert schedules == {True, False}


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
    space = SearchSpace.load(search_space())
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
        ("image", "smell", "smell"),
        ("modalities:", "step: 0.013\nmodalities:", "step: 0.013"),
        ("    choices:", "    presets: [fastw]\n    choices:", "modalities.image.presets.0: unknown preset 'fastw'"),
        ("    choices:", "    max_stages: 0\n    choices:", "modalities.image.max_stages"),
        (MINIMAL, "", "is empty"),
        (MINIMAL, "[1, 2", "is not YAML"),
        (MINIMAL, "- 1", "holds list"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
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
    space = SearchSpace.load(search_space())
    with pytest.raises(SpaceError, match="the decoder has 3 layers, 0 to 2 are allowed"):
        space.fit(("image",), Depths(3, DEPTHS.encoder))
    with pytest.raises(SpaceError, match="the data holds smell"):
        space.fit(("smell",), DEPTHS)
