"""What compare, conflicts, bench and export are asked for: where it is wrong, one line at once, and nothing written."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import autotc
from autotc import cli
from autotc.bench import CalibrationSettings, Case, Requests, measure_cases
from autotc.deployment import Served, write_config
from autotc.errors import MESSAGE_LENGTH, AutotcError, DataError
from autotc.files import check_writable_folder
from autotc.policy import Policy

from ..models.families import FAMILIES

NAMES = ["../../x", "/etc/x", "", ".hidden", "a/b", "a\x00b", "x" * 400, "a b"]
COMPARE: list[dict[str, Any]] = [
    *({"name": name} for name in NAMES),
    {"presets": ["nothing"]},
    {"by": "colour"},
    {"by": "location", "mechanism": "nothing"},
    {"tokens": [0.0]},
    {"tokens": [2]},
    {"tokens": [float("nan")]},
    {"costs": "0.5"},
    {"keeps": [True]},
    {"limit": 0},
    {"limit": 1.5},
    {"split": "all"},
    {"tracking_uri": "mlruns"},
    {"tracking_uri": "http://user:secret@host:port"},
]
CONFLICTS: list[dict[str, Any]] = [
    *({"name": name} for name in NAMES),
    {"keeps": [(0.25, 0.5)]},
    {"keeps": [(0.5,)]},
    {"keeps": [(0.5, -1)]},
    {"samples": 0},
    {"modalities": ["smell"]},
    {"limit": -3},
    {"split": None},
    {"pairs": ["a+b"], "space": object()},
    {"tracking_uri": "file:///x"},
]


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is told before a model is loaded."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a model was loaded")

    # The packages have the names of public functions, so that patching by a dotted name would find those.
    for package in ("compare", "interactions", "bench"):
        monkeypatch.setattr(importlib.import_module(f"autotc.{package}.run"), "embedded_evaluator", refuse)
    monkeypatch.setattr(importlib.import_module("autotc.bench.run"), "load_embedded", refuse)


def told(call: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(AutotcError) as raised:
        call(**options)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert len(message) <= MESSAGE_LENGTH or "known: " in message  # a list, which the command line cuts
    assert message.isprintable()
    assert "secret" not in message
    return message


@pytest.mark.parametrize("wrong", COMPARE, ids=lambda wrong: repr(wrong)[:40])
def test_compare(wrong: dict[str, Any], tmp_path: Path) -> None:
    told(autotc.compare, runs=tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", CONFLICTS, ids=lambda wrong: repr(wrong)[:40])
def test_conflicts(wrong: dict[str, Any], tmp_path: Path) -> None:
    told(autotc.conflicts, runs=tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [autotc.compare, autotc.conflicts])
def test_a_folder_that_cannot_be_written_to(call: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "file is no folder" in told(call, runs=file)
    assert "file is no folder" in told(call, runs=file / "deeper")
    assert "--runs" in told(call, runs=tmp_path / ("x" * 5000))
    assert "--runs" in told(call, runs="a\0b")
    assert file.read_text() == "mine"
    check_writable_folder(tmp_path / "new" / "deeper", "--runs")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [["compare", "--name", "../../x"], ["conflicts", "--name", "/x"], ["compare", "--runs", "/dev/null/x"]],
    ids=" ".join,
)
def test_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Requests(tokens=[0]),
        lambda: Requests(batches=[1, "two"]),  # type: ignore[list-item]
        lambda: Requests(modalities=["smell"]),  # type: ignore[list-item]
        lambda: Requests(text=0),
        lambda: CalibrationSettings(tokens=0),
        lambda: CalibrationSettings(tokens=8, seed=-1),
        lambda: autotc.bench(repeats=0),
        lambda: autotc.bench(new_tokens=1),
        lambda: autotc.calibrate(mechanisms=["nothing"]),
        lambda: autotc.calibrate(mechanisms=[]),
        lambda: autotc.bench("no-such-policy.yaml"),
        lambda: autotc.export("no-such-policy.yaml", "vllm"),
        lambda: autotc.export(Policy(), "no-such-engine"),
        lambda: autotc.export(Policy(), "vllm", limit=0),
        lambda: autotc.export(Policy(), "vllm", served=Served(pixels=-1)),
    ],
)
def test_bench_and_export(make: Callable[[], Any]) -> None:
    told(make)


def test_a_request_that_the_model_cannot_run() -> None:
    model = FAMILIES["llava"].build()
    inputs = {"input_ids": torch.tensor([[10**6, 1]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    message = told(measure_cases, model=model, policy=Policy(), cases=[Case("odd", inputs, inputs)], repeats=1)
    assert message.startswith("bench: odd: the model cannot run this request")


def test_a_configuration_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--out: .*no such folder"):
        write_config(tmp_path / "none" / "x.yaml", {"a": 1})
    assert list(tmp_path.iterdir()) == []
    assert write_config(tmp_path / "x.json", {"a": 1}).read_text() == '{\n  "a": 1\n}\n'
    assert write_config(tmp_path / "x.yaml", {"a": 1}).read_text() == "a: 1\n"
