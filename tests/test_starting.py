"""`autotc init`: the shipped example, and a space that is written for a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autotc
from autotc import resources
from autotc.errors import DataError, MissingDependencyError
from autotc.search.space import SearchSpace
from autotc.starting import init
from tests.models.checkpoints import save


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen2_audio"])
def test_a_space_for_a_model(family: str, tmp_path: Path) -> None:
    checkpoint = save(family, tmp_path / "checkpoint")
    written = init(tmp_path / "ours", str(checkpoint))
    text = written.space.read_text()
    space = SearchSpace.load(written.space)
    evaluator = autotc.evaluator(str(checkpoint), data=written.data)
    assert set(space.modalities) == set(evaluator.modalities)
    kept, lacking = space.fit(evaluator.modalities, evaluator.depths).offered(evaluator.locations)
    assert lacking == []  # nothing that the model does not offer
    assert kept.modalities
    for (modality, location), floor in evaluator.floors("search").items():
        assert f"floor {floor:.3f}" in text, (modality, location)
    assert f"a decoder of {evaluator.depths.decoder} layers" in text
    for check in autotc.validate(written.space, written.data):
        assert check.valid, check.message


def test_places_that_are_not_offered_are_named(tmp_path: Path) -> None:
    # Gemma 3 pools after its tower, so that nothing can be removed inside it.
    checkpoint = save("gemma3", tmp_path / "checkpoint")
    text = init(tmp_path / "ours", str(checkpoint)).space.read_text()
    locations = autotc.evaluator(str(checkpoint), data=tmp_path / "ours/data.jsonl").locations["image"]
    for location in ("input", "encoder", "projector", "decoder"):
        assert ("this model offers no stage there" in line_of(text, location)) == (location not in locations)


def line_of(text: str, location: str) -> str:
    """The comment of a location."""
    return next(line for line in text.splitlines() if line.strip().startswith(f"# {location}:"))


def test_floors_of_data_of_ones_own(tmp_path: Path) -> None:
    checkpoint = save("llava", tmp_path / "checkpoint")
    first = init(tmp_path / "first", str(checkpoint))
    assert {key for line in first.data.read_text().splitlines() for key in json.loads(line)} & {
        "video",
        "audio",
    } == set()
    second = init(tmp_path / "second", str(checkpoint), data=first.data)
    assert f"on {first.data}" in second.space.read_text()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        init(tmp_path / "ours", str(tmp_path / "none"))
    assert not (tmp_path / "ours").exists()


def test_data_without_a_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from autotc.cli import main

    assert main(["init", str(tmp_path / "x"), "--data", "y.jsonl"]) == 2
    assert "--data: given without --model" in capsys.readouterr().err


def test_nothing_is_left_where_a_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(folder: Path, space: str | None, modalities: object) -> list[str]:
        (folder / "media").mkdir()
        raise MissingDependencyError("soundfile is not installed")

    monkeypatch.setattr(resources, "_write_example", drawn)
    with pytest.raises(MissingDependencyError):
        resources.write_example(tmp_path / "example")
    assert list(tmp_path.iterdir()) == []
