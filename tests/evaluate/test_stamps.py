"""Results are kept with what they depend on, and are not taken for those of anything else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.identity import media_digest, metric_identity
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.evaluate.measures import contains, exact
from autotc.evaluate.metrics import find_metric
from autotc.evaluate.store import ResultStore
from autotc.stamp import Stamp
from autotc.tiny import load


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for i in range(6):
        Image.new("RGB", (128, 128), (i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append({"id": f"a{i}", "images": f"{i}.png", "prompt": "which digit", "answer": "red"})
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_another_model_metric_medium_or_split_has_another_stamp(data: Path) -> None:
    model, processor = load()
    stamps = {"as it is": JsonlEvaluator(data, model, processor).stamp("test")}
    assert JsonlEvaluator(data, *load()).stamp("test") == stamps["as it is"]
    stamps["metric"] = JsonlEvaluator(data, model, processor, metric="contains").stamp("test")
    stamps["split"] = JsonlEvaluator(data, model, processor).stamp("val")
    stamps["seed"] = JsonlEvaluator(data, model, processor, seed=1).stamp("test")
    for i in range(6):  # as many bytes as before, and as old
        path = data.parent / f"{i}.png"
        before = path.stat()
        Image.new("RGB", (128, 128), (i, 9, 0)).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    stamps["media"] = JsonlEvaluator(data, model, processor).stamp("test")
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    stamps["weights"] = JsonlEvaluator(data, model, processor).stamp("test")
    stamps["dtype"] = JsonlEvaluator(data, model.to(torch.bfloat16), processor).stamp("test")
    assert len({stamp.digest() for stamp in stamps.values()}) == len(stamps)


def test_a_store_of_other_results_is_refused(tmp_path: Path) -> None:
    stamp = Stamp(architecture="A", weights="sha256:ab", metric="exact")
    ResultStore(tmp_path, stamp, {"limit": 3}).open()
    ResultStore(tmp_path, stamp, {"limit": 3}).open()
    with pytest.raises(DataError, match="with limit 3, not 4; give another --name"):
        ResultStore(tmp_path, stamp, {"limit": 4}).open()
    with pytest.raises(DataError, match=r"the model's weights \(sha256:ab there, other here\)"):
        ResultStore(tmp_path, stamp.model_copy(update={"weights": "other"}), {"limit": 3}).open()
    file = tmp_path / "measurement.json"
    for damaged in ("", "{", "[1]", '{"format": 2, "limit": 3, "stamp": 3}'):
        file.write_text(damaged)
        with pytest.raises(DataError, match=r"measurement\.json: is damaged"):
            ResultStore(tmp_path, stamp, {"limit": 3}).open()


def test_metrics_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("stamped_metric.py").write_text("def a(said, right):\n    return 1\n\n\ndef b(said, right):\n    return 0\n")
    own = [metric_identity(find_metric(f"stamped_metric:{name}")) for name in "ab"]
    assert len({*own, metric_identity(exact), metric_identity(contains)}) == 4
    assert own[0].startswith("stamped_metric:a ")


def test_digests_are_of_contents(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    (tmp_path / "frames").mkdir()
    for i in range(2):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / "frames" / f"{i}.png")
    paths = [tmp_path / "a.wav", tmp_path / "frames"]
    before = media_digest(paths)
    assert media_digest(paths) == before != media_digest(paths[:1])
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "frames" / "1.png")
    assert media_digest(paths) != before
