"""The schemas say what the models say, and every YAML file that ships or is written names its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from autotc import cli
from autotc.errors import AutotcError, DataError
from autotc.policy import Policy, Stage
from autotc.presets.policies import every_policy
from autotc.schemas import Kind, copy_name, name_schema, schema_file, write_yaml
from autotc.search.space import SearchSpace

from . import reference

ROOT = Path(__file__).parent.parent
SHIPPED: list[tuple[Kind, Path]] = [
    *(("policy", path) for path in sorted((ROOT / "policies").rglob("*.yaml"))),
    *(("space", path) for path in sorted((ROOT / "search_spaces").rglob("*.yaml"))),
]
VALIDATORS = {
    kind: Draft7Validator(json.loads(schema_file(kind).read_text(encoding="utf-8"))) for kind in ("policy", "space")
}
FASTV = "{modality: image, location: decoder, layer: 2, mechanism: fastv, keep_ratio: 0.5}"
CHOICE = "{mechanism: fastv, location: decoder, layers: [1, 2], keep_ratio: [0.1, 0.5]}"


def faults(kind: str, text: str) -> list[str]:
    """What the schema refuses of a YAML text, as an editor that knows JSON alone sees it."""
    document = json.loads(json.dumps(yaml.safe_load(text)))
    return [error.message for error in VALIDATORS[kind].iter_errors(document)]


def refused(kind: Kind, text: str) -> bool:
    """Whether the model refuses a YAML text."""
    model: Any = Policy if kind == "policy" else SearchSpace
    try:
        model.from_yaml(text)
    except AutotcError:
        return True
    return False


def test_reference_is_what_the_models_say() -> None:
    stale = [path.name for path, text in reference.renewed().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python -m tests.reference`"


@pytest.mark.parametrize("kind", VALIDATORS)
def test_schemas_are_schemas(kind: str) -> None:
    Draft7Validator.check_schema(VALIDATORS[kind].schema)


@pytest.mark.parametrize("kind", VALIDATORS)
def test_shipped_files_fit_and_lead_to_their_schema(kind: Kind) -> None:
    for path in [path for of, path in SHIPPED if of == kind]:
        text = path.read_text(encoding="utf-8")
        assert faults(kind, text) == [], path
        first = text.partition("\n")[0]
        assert first.startswith("# yaml-language-server: $schema="), path
        assert (path.parent / first.partition("=")[2]).resolve() == schema_file(kind), path


@pytest.mark.parametrize("architecture", ["llava-1.5-7b", "qwen2.5-vl-7b"])
def test_every_preset_fits(architecture: str) -> None:
    for name, policy in every_policy(0.3, model=architecture).items():
        assert faults("policy", policy.to_yaml()) == [], name


STAGES = [
    FASTV,
    FASTV.replace("layer: 2", "layers: {2: 0.5}").replace(", keep_ratio: 0.5", ""),
    *(
        FASTV.replace(old, new)
        for old, new in (
            ("fastv", "fast"),
            ("decoder", "projector"),
            ("layer: 2, ", ""),
            ("layer: 2", "layer: -1"),
            ("keep_ratio: 0.5", "keep_ratio: 0"),
            ("keep_ratio: 0.5", "keep_ratio: 1.5"),
            ("keep_ratio: 0.5", "layers: {2: 0.5}"),
            ("image", "text"),
            ("0.5}", "0.5, params: {recycle: true}}"),
            ("0.5}", "0.5, params: {recycle: 3}}"),
            ("0.5}", "0.5, params: {reuse: true}}"),
            ("fastv", "evs"),
        )
    ),
]
POLICIES = [
    "version: 1",
    "version: 1\nmodel: {architecture: Own}\nnote: x\nstages: []",
    f"stages: [{FASTV}]",
    f"version: 2\nstages: [{FASTV}]",
    f"version: 1\nstages: [{FASTV}]\nstage: 1",
    *(f"version: 1\nstages: [{stage}]" for stage in STAGES),
]
CHOICES = [
    CHOICE,
    *(
        CHOICE.replace(old, new)
        for old, new in (
            ("fastv", "fast"),
            ("fastv", "omnizip_audio"),
            ("decoder", "input"),
            ("layers: [1, 2], ", ""),
            ("[0.1, 0.5]", "[0.1, 0.5, 0.9]"),
            ("0.5]", "0.5], schedules: [steep]"),
            ("0.5]", "0.5], schedules: [single, step]"),
        )
    ),
]
SPACES = [
    "version: 1\nmodalities: {}",
    "version: 1\nmodalities: {image: {choices: []}}",
    f"version: 1\ndeployable_on: vlm\nmodalities: {{image: {{choices: [{CHOICE}]}}}}",
    f"version: 1\nmodalities: {{text: {{choices: [{CHOICE}]}}}}",
    f"version: 1\nmodalities: {{image: {{max_stages: 9, choices: [{CHOICE}]}}}}",
    f"version: 1\nmodalities: {{image: {{choices: [{CHOICE}], presets: [fastv]}}}}",
    f"version: 1\nmodalities: {{image: {{choices: [{CHOICE}], presets: [evs]}}}}",
    *(f"version: 1\nmodalities: {{image: {{choices: [{choice}]}}}}" for choice in CHOICES),
]


@pytest.mark.parametrize(("kind", "text"), [*(("policy", p) for p in POLICIES), *(("space", s) for s in SPACES)])
def test_schema_and_model_agree(kind: Kind, text: str) -> None:
    assert bool(faults(kind, text)) == refused(kind, text), faults(kind, text)


def test_what_is_written_names_a_schema_that_stands_beside_it(tmp_path: Path) -> None:
    policy = Policy(stages=(Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5),))
    path = policy.save(tmp_path / "a" / "x.yaml")
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    assert first == f"# yaml-language-server: $schema={copy_name('policy')}"
    assert rest == policy.to_yaml()
    copy = path.parent / copy_name("policy")
    assert copy.read_bytes() == schema_file("policy").read_bytes()
    assert Policy.load(path) == policy
    copy.write_text("of an older version")
    policy.save(path)
    assert copy.read_bytes() == schema_file("policy").read_bytes()


def test_inside_a_checkout_the_shipped_schema_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    schemas = tmp_path / "checkout" / "autotc" / "schemas"
    schemas.mkdir(parents=True)
    monkeypatch.setattr("autotc.schemas.FOLDER", schemas)
    monkeypatch.setattr("autotc.schemas._ROOT", tmp_path / "checkout")
    path = write_yaml(tmp_path / "checkout" / "policies" / "x.yaml", "version: 1\n", "policy")
    assert path.read_text() == "# yaml-language-server: $schema=../autotc/schemas/policy.schema.json\nversion: 1\n"
    assert [file.name for file in path.parent.iterdir()] == ["x.yaml"]


def test_a_line_that_is_there_is_replaced() -> None:
    once = name_schema("version: 1\nstages: []\n", "a.json")
    assert name_schema(once, "b.json") == "# yaml-language-server: $schema=b.json\nversion: 1\nstages: []\n"


def test_a_schema_that_cannot_be_written_leaves_the_file_whole(tmp_path: Path) -> None:
    (tmp_path / copy_name("policy")).mkdir()
    assert Policy.load(Policy().save(tmp_path / "x.yaml")) == Policy()
    with pytest.raises(DataError):
        Policy().save("a\0b")


def test_the_example_is_valid_and_has_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", str(tmp_path / "example")]) == 0
    space = tmp_path / "example" / "space.yaml"
    assert space.read_text().startswith(f"# yaml-language-server: $schema={copy_name('space')}\n#")
    assert (space.parent / copy_name("space")).read_bytes() == schema_file("space").read_bytes()
    assert cli.main(["validate", str(space)]) == 0
