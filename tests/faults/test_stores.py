"""Results that are kept: never another model's, metric's or picture's, and measured again where a file is damaged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autotc.compare.measure import ComparisonStore, Measurements
from autotc.errors import MESSAGE_LENGTH, DataError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.evaluate.store import ResultStore
from autotc.interactions.measure import open_store
from autotc.policy import Policy
from autotc.results import Results
from autotc.stamp import Stamp
from autotc.tiny import load

from ..test_check import Told


def changed_weights() -> Any:
    """Another checkpoint of the same architecture."""
    model, processor = load()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    return model, processor


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


@pytest.fixture(scope="module")
def other() -> BuiltinEvaluator:
    return BuiltinEvaluator(*changed_weights())


def test_two_checkpoints_share_no_folder(evaluator: BuiltinEvaluator, other: BuiltinEvaluator, tmp_path: Path) -> None:
    Measurements(evaluator, "val", 2, tmp_path / "a", {"by": "preset"})
    Measurements(evaluator, "val", 2, tmp_path / "a", {"by": "preset"})  # the same again goes on
    with pytest.raises(DataError, match="the model's weights"):
        Measurements(other, "val", 2, tmp_path / "a", {"by": "preset"})
    open_store(evaluator, "val", 2, tmp_path / "b")
    with pytest.raises(DataError, match="the model's weights"):
        open_store(other, "val", 2, tmp_path / "b")


def test_another_dtype_shares_no_folder(evaluator: BuiltinEvaluator, tmp_path: Path) -> None:
    open_store(evaluator, "val", 2, tmp_path)
    model, processor = load()
    with pytest.raises(DataError, match=r"the dtype of the weights \(float32 there, bfloat16 here\)"):
        open_store(BuiltinEvaluator(model.bfloat16(), processor), "val", 2, tmp_path)


def data(folder: Path, shade: int) -> Path:
    """A data file of three pictures; each replaced by its namesake of another shade."""
    lines = []
    for number in range(9):
        Image.fromarray(np.full((32, 32, 3), shade + number, dtype=np.uint8)).save(folder / f"{number}.png")
        line = {"id": f"p{number}", "images": [f"{number}.png"], "prompt": "which digit is red ?", "answer": "3"}
        lines.append(json.dumps(line))
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def backwards(said: str, right: str) -> float:
    return float(said == right[::-1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: JsonlEvaluator(path, metric="contains"), "the metric (exact there, contains here)"),
        (lambda path: JsonlEvaluator(path, metric=backwards), "the metric (exact there, "),
        (lambda path: JsonlEvaluator(data(path.parent, 100)), "the pictures, videos or clips"),
        (lambda path: JsonlEvaluator(path, seed=1), "the split and its seed"),
    ],
    ids=["metric", "function", "media", "seed"],
)
def test_what_differs_is_named(tmp_path: Path, change: Callable[[Path], JsonlEvaluator], told: str) -> None:
    path = data(tmp_path, 0)
    open_store(JsonlEvaluator(path), "search", None, tmp_path / "runs")
    with pytest.raises(DataError) as raised:
        open_store(change(path), "search", None, tmp_path / "runs")
    assert told in str(raised.value)
    assert "--name" in str(raised.value)


def store(folder: Path, **settings: Any) -> ResultStore:
    return ResultStore(folder, Stamp(architecture="A", weights="sha256:1"), settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 2, "stamp": {"shoes": 4}}'])
def test_a_damaged_stamp_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "measurement.json").write_text(text)
    with pytest.raises(DataError, match=r"measurement.json: is damaged|holds a measurement with format None") as raised:
        store(tmp_path).open()
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) <= MESSAGE_LENGTH + len(str(tmp_path))
    assert (tmp_path / "measurement.json").read_text() == text


def test_other_settings_are_refused(tmp_path: Path) -> None:
    store(tmp_path, limit=6).open()
    with pytest.raises(DataError, match="limit 6, not 7"):
        store(tmp_path, limit=7).open()


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not a table at all"])
def test_damaged_results_are_named_and_measured_again(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path)
    kept.open()
    measured = Told().run(Policy(), "test", limit=3)
    runs: list[int] = []

    def run() -> Results:
        runs.append(1)
        return measured

    assert kept.results("image-1", run) == measured
    assert len(kept.results("image-1", run)) == 6
    assert len(runs) == 1
    (tmp_path / "samples" / "image-1.parquet").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert len(kept.results("image-1", run)) == 6
    assert len(runs) == 2
    assert "image-1.parquet: is not a samples file" in caplog.text
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["image-1.parquet"]


@pytest.mark.parametrize("text", ["", "[1]", '{"image-1": [1.0, 2.0]}', '{"image-1": "fast"}', '{"image-1": [1'])
def test_damaged_times_are_measured_again(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "timings.json").write_text(text)
    times = ComparisonStore(tmp_path, Stamp())
    with caplog.at_level(logging.WARNING):
        times.open()
    assert "timings.json: is damaged" in caplog.text
    assert times.timing("image-1", lambda: [1.0, 2.0, 0.0]) == [1.0, 2.0, 0.0]
    assert json.loads((tmp_path / "timings.json").read_text()) == {"image-1": [1.0, 2.0, 0.0]}
