"""Policy files: there and back, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autotc.errors import PolicyError
from autotc.policy import Measured, ModelReference, Policy, Stage


def full() -> Policy:
    return Policy(
        model=ModelReference(architecture="A", fingerprint="sha256:1"),
        stages=(
            Stage(modality="image", location="projector", mechanism="random", keep_ratio=0.5, params={"seed": 3}),
            Stage(modality="image", location="decoder", mechanism="fastv", layers={2: 0.5, 4: 0.25}),
            Stage(modality="audio", location="encoder", layer=1, mechanism="random", keep_ratio=0.75),
        ),
        measured=Measured(
            evaluator="builtin",
            split="test",
            samples={"image": 600},
            samples_sha256="0" * 64,
            accuracy={"image": (0.9, 0.88, 0.92)},
            flops_ratio=0.48,
        ),
    )


def test_yaml_and_back(tmp_path: Path) -> None:
    policy = full()
    assert Policy.from_yaml(policy.to_yaml()) == policy
    assert Policy.load(policy.save(tmp_path / "new" / "x.yaml")) == policy
    assert Policy.load(tmp_path / "new" / "x.yaml").to_yaml() == policy.to_yaml()


def test_the_empty_policy() -> None:
    assert Policy.from_yaml(Policy().to_yaml()) == Policy()
    assert Policy().label() == "none"


def test_hash_is_of_what_the_policy_does() -> None:
    policy = full()
    assert (
        policy.content_hash() == policy.model_copy(update={"measured": None, "model": None, "note": "x"}).content_hash()
    )
    assert policy.content_hash() != policy.model_copy(update={"stages": policy.stages[:2]}).content_hash()
    assert len(policy.content_hash()) == 16


def stage(**changes: Any) -> dict[str, Any]:
    out = {"modality": "image", "location": "projector", "mechanism": "random", "keep_ratio": 0.5, **changes}
    return {key: value for key, value in out.items() if value is not ...}


LAYERED = {"location": "decoder", "keep_ratio": ..., "mechanism": "fastv"}


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"stages": [], "stage": 1}, ["stage", "unknown key"]),
        ({"stages": [stage(ratio=1)]}, ["stages.0", "ratio", "unknown key"]),
        ({"version": 2}, ["version", "2"]),
        ({"stages": [stage(keep_ratio=0)]}, ["stages.0", "keep_ratio", "greater than 0", "0"]),
        ({"stages": [stage(keep_ratio=1.2)]}, ["stages.0", "keep_ratio", "less than or equal to 1", "1.2"]),
        ({"stages": [stage(keep_ratio=...)]}, ["stages.0", "keep_ratio", "missing"]),
        ({"stages": [stage(), stage(mechanism="divprun3")]}, ["stages.1", "mechanism", "divprun3"]),
        ({"stages": [stage(modality="smell")]}, ["stages.0", "modality", "smell"]),
        ({"stages": [stage(location="decoder")]}, ["stages.0", "layer", "missing"]),
        ({"stages": [stage(layer=2)]}, ["stages.0", "layer", "2"]),
        ({"stages": [stage(location="encoder", layer=-1)]}, ["stages.0", "layer", "-1"]),
        ({"stages": [stage(mechanism="fastv")]}, ["stages.0", "location", "fastv", "decoder"]),
        ({"stages": [stage(params={"sed": 1})]}, ["stages.0", "params", "sed"]),
        ({"stages": [stage(layers={2: 0.5, 4: 0.6}, **LAYERED)]}, ["stages.0", "layers", "rise", "0.6"]),
        ({"stages": [stage(layers={2: 1.2}, **LAYERED)]}, ["stages.0", "layers", "1.2"]),
        ({"stages": [stage(layers={}, **LAYERED)]}, ["stages.0", "layers", "empty"]),
        ({"stages": [stage(layers={2: 0.5}, keep_ratio=0.5)]}, ["stages.0", "layers"]),
        (
            {"stages": [stage(location="decoder", layer=2, mechanism="fastv"), stage()]},
            ["stages.1", "acts before", "order"],
        ),
        ({"stages": {"a": 1}}, ["stages"]),
    ],
)
def test_wrong_content_is_one_line_with_file_and_place(tmp_path: Path, data: dict[str, Any], parts: list[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"version": 1, **data}))
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in [str(path), *parts]:
        assert part in message


@pytest.mark.parametrize(
    ("content", "part"), [("", "is empty"), ("\n  \n", "is empty"), ("a: [", "is not YAML"), ("- 1", "holds list")]
)
def test_wrong_files(tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(PolicyError, match=part) as caught:
        Policy.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_directory_and_not_text(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="is a directory"):
        Policy.load(tmp_path)
    with pytest.raises(PolicyError, match="no such file"):
        Policy.load(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(PolicyError, match="is no UTF-8 text"):
        Policy.load(tmp_path / "x.yaml")
