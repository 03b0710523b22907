"""`autotc.validate`: files of every kind, right and wrong, as records."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import autotc
from autotc.errors import MESSAGE_LENGTH
from autotc.policy import ModelReference, Policy, Stage
from autotc.resources import search_space
from autotc.validation import FileCheck

STAGE = Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5)


def test_one_record_for_each_file_in_order(tmp_path: Path) -> None:
    right = Policy(stages=(STAGE,)).save(tmp_path / "right.yaml")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(right.read_text().replace("0.5", "1.5"))
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"id": "a"}) + "\n")
    found = autotc.validate(right, wrong, search_space(), str(data), tmp_path / "none.yaml")
    assert [(check.kind, check.valid) for check in found] == [
        ("policy", True),
        (None, False),
        ("search space", True),
        (None, False),
        (None, False),
    ]
    assert found[0] == FileCheck(str(right), "policy", True, None)
    assert found[0].to_json() == {"file": str(right), "kind": "policy", "valid": True, "message": None}
    for check, part in zip(found, (None, "keep_ratio", None, "data.jsonl", "no such file"), strict=True):
        assert check.message is None if part is None else part in str(check.message)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet", "CSV"])
def test_data_files_of_every_ending(tmp_path: Path, ending: str) -> None:
    for i in range(3):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(tmp_path / f"{i}.png")
    rows = [{"id": f"r{i}", "images": f"{i}.png", "prompt": "Which?", "answer": "7"} for i in range(3)]
    good, bad = tmp_path / f"good.{ending}", tmp_path / f"bad.{ending}"
    for path, part in ((good, rows), (bad, [*rows[:2], {**rows[2], "images": "none.png"}])):
        if ending == "jsonl":
            path.write_text("\n".join(map(json.dumps, part)))
        elif ending == "json":
            path.write_text(json.dumps(part))
        elif ending == "parquet":
            pd.DataFrame(part).to_parquet(path)
        else:
            pd.DataFrame(part).to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    found = autotc.validate(good, bad)
    assert found[0] == FileCheck(str(good), "data file", True, None)
    place = {"json": "entry 3", "jsonl": "line 3", "parquet": "row 3"}.get(ending, "line 4")
    assert f"{place}: images: 'none.png' does not exist" in str(found[1].message)


def test_a_space_that_is_wrong_is_told_as_a_space(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("version: 1\nmodalities: {}\n")
    (check,) = autotc.validate(space)
    assert check.message == f"{space}: modalities: empty; name at least one of image, video, audio"


def test_rules_with_the_depths_of_a_known_model(tmp_path: Path) -> None:
    model = ModelReference(
        architecture="Qwen2_5_VLForConditionalGeneration", fingerprint="sha256:0a3b30d68d027466c4013622d197aa8d"
    )
    deep = Stage(modality="image", location="decoder", layer=28, mechanism="fastv", keep_ratio=0.25)
    path = Policy(model=model, stages=(STAGE, deep)).save(tmp_path / "x.yaml")
    (check,) = autotc.validate(path)
    assert check.message is not None
    assert "layer 28 given, the decoder has 28 layers; 0 to 27 are allowed" in check.message


def test_an_unknown_architecture_is_one_line(tmp_path: Path) -> None:
    path = Policy(model=ModelReference(architecture="X" * 100_000), stages=(STAGE,)).save(tmp_path / "x.yaml")
    (check,) = autotc.validate(path)
    assert check.message is not None
    assert "model.architecture: 'XXX" in check.message
    assert len(check.message) <= MESSAGE_LENGTH
