"""`autotc bench --engine vllm` as far as no engine is needed: what it refuses, predicts and prints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from autotc import cli
from autotc.bench.serving import ServingOptions, Traffic, bench_serving
from autotc.bench.serving import run as serving_run
from autotc.bench.serving.run import predicted_speedup, served_name
from autotc.bench.serving.servers import flags
from autotc.errors import DataError, MissingDependencyError, PolicyError
from autotc.policy import Policy, Stage
from autotc.records.serving import Serving, ServingRow, ServingSide
from autotc.report.serving import serving_text
from autotc.statistics import Interval
from tests.serve.checkpoints import save


def policy(keep: float = 0.25, location: Any = "projector", layer: int | None = None) -> Policy:
    mechanism = "fastv" if location == "decoder" else "divprune"
    stage = Stage(modality="image", location=location, layer=layer, mechanism=mechanism, keep_ratio=keep)
    return Policy(stages=(stage,))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save("qwen2_5_vl", tmp_path_factory.mktemp("model")))


def test_fewer_tokens_are_predicted_to_gain(checkpoint: str) -> None:
    traffic = Traffic(height=64, width=64)
    quarter, half = (predicted_speedup(checkpoint, policy(keep), traffic) for keep in (0.25, 0.5))
    assert quarter > half > 1
    assert predicted_speedup(checkpoint, policy(1.0), traffic) == 1
    stage = Stage(modality="video", location="projector", mechanism="evs", keep_ratio=0.25, layer=None)
    assert predicted_speedup(checkpoint, Policy(stages=(stage,)), Traffic(64, 64, frames=8)) > 1


def test_what_cannot_be_served_is_told_before_a_server_starts(checkpoint: str) -> None:
    with pytest.raises(PolicyError, match=r"paged keys and values.*autotc export POLICY --to vllm"):
        predicted_speedup(checkpoint, policy(0.5, "decoder", 1), Traffic(64, 64))
    with pytest.raises(PolicyError, match="no stages"):
        bench_serving(Policy(), checkpoint)


def test_without_vllm_it_says_what_to_install(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_run, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'autotc\[vllm\]'"):
        bench_serving(policy(), checkpoint)


def test_options_and_traffic() -> None:
    assert Traffic().count(4) == 16
    assert Traffic().count(64) == 128
    assert Traffic(requests=8).count(64) == 8
    with pytest.raises(DataError, match="new_tokens"):
        Traffic(new_tokens=1)
    with pytest.raises(DataError, match="--baseline-server"):
        ServingOptions(server="http://127.0.0.1:1")
    with pytest.raises(DataError, match="--engine-args"):
        ServingOptions({"dtype": "float32"}, "http://127.0.0.1:1", "http://127.0.0.1:2")
    with pytest.raises(DataError, match="no server of a model answers there"):
        served_name("http://127.0.0.1:9")


def test_arguments_on_a_command_line() -> None:
    given = {"max_model_len": 2048, "enforce_eager": True, "enable_prefix_caching": False, "limits": {"image": 1}}
    assert flags(given) == [
        *("--max-model-len", "2048", "--enforce-eager", "--no-enable-prefix-caching"),
        *("--limits", '{"image": 1}'),
    ]


def row(concurrency: int, speedup: float, tokens: float) -> ServingRow:
    side = ServingSide(10.0 * speedup, 30.0, 60.0, 5.0, 9.0, tokens)
    baseline = dataclasses.replace(side, requests_per_second=10.0, prompt_tokens=100.0)
    return ServingRow(concurrency, 16, side, baseline, Interval(speedup, speedup - 0.1, speedup + 0.1))


def test_a_loss_is_told() -> None:
    rows = (row(1, 2.0, 50.0), row(32, 0.5, 50.0), row(64, 0.9, 100.0))
    text = serving_text(Serving("x.yaml", "image projector divprune 0.5", "M", vars(Traffic()), 1.8, rows))
    warnings = [line for line in text.splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning: with 32 at once 2.00 times fewer tokens give 2.00 times fewer requests a second"
    ]  # as many tokens and fewer requests are noise, or the plug-in's cost
    assert [line["slower"] for line in Serving("x", "y", "M", {}, 1.8, rows).to_json()["rows"]] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "vllm"], "--model PATH"),
        (["--engine", "vllm", "--model", "M", "--tokens", "64"], "--tokens: given with --engine vllm"),
        (["--concurrency", "4"], "--concurrency: given without --engine vllm"),
        (["--engine-args", "{}"], "--engine-args: given without --engine vllm"),
        (["--engine", "vllm", "--model", "M", "--size", "64"], "height and width"),
        (["--server", "http://127.0.0.1:9", "--model", "M"], "--baseline-server"),
    ],
)
def test_the_command_refuses(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = policy().save(tmp_path / "x.yaml")
    try:
        code = cli.main(["bench", str(file), *arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert told in capsys.readouterr().err
