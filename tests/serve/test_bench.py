"""Requests a second, measured on two real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here")

from autotc import cli
from autotc.bench.serving import ServingOptions, Traffic, bench_serving
from autotc.bench.serving.servers import running
from autotc.errors import DataError
from autotc.policy import Policy, Stage

from .engines import checkpoint

ARGUMENTS = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True}
STAGE = Stage(modality="image", location="projector", layer=None, mechanism="divprune", keep_ratio=0.25)


def test_both_servers_are_asked_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Policy(stages=(STAGE,)).save(tmp_path / "x.yaml")
    model = str(checkpoint("qwen2_5_vl"))
    options = ["--size", "64x64", "--concurrency", "1,4", "--requests", "4", "--repeats", "2", "--new-tokens", "4"]
    engine = ["--engine", "vllm", "--model", model, "--engine-args", json.dumps(ARGUMENTS)]
    assert cli.main(["bench", str(file), *engine, *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["concurrency"] for row in data["rows"]] == [1, 4]
    for row in data["rows"]:
        # 64 x 64 pixels are 64 tokens of this model, of which 16 stay.
        assert row["baseline_prompt_tokens"] - row["prompt_tokens"] == pytest.approx(48)
        assert row["requests_per_second"] > 0
        assert row["first_token_p99_ms"] >= row["first_token_ms"] > 0
    assert data["predicted_speedup"] > 1


def test_a_server_that_ends_says_why_and_one_with_another_policy_is_not_measured(tmp_path: Path) -> None:
    model = str(checkpoint("qwen2_5_vl"))
    broken = tmp_path / "x.yaml"
    broken.write_text("version: 1\nstages: [{modality: image}]\n")
    with (
        pytest.raises(DataError, match=r"ended before it was ready: autotc: .*x\.yaml"),
        running(model, ARGUMENTS, broken),
    ):
        pass
    with running(model, ARGUMENTS, None) as url:
        options = ServingOptions(server=url, baseline=url, concurrency=[2], repeats=1)
        with pytest.raises(DataError, match="serves no policy of autotc, not"):
            bench_serving(Policy(stages=(STAGE,)), model, Traffic(64, 64, requests=4), options)
