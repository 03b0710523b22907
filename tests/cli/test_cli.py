"""The command line: exit codes, errors of one line, one JSON document on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotc import cli
from autotc.cli import program
from autotc.cli.output import Output
from autotc.errors import MissingDependencyError
from autotc.resources import search_space

COMMANDS = (
    *("search", "worker", "eval", "check", "front", "report", "study"),
    *("show", "validate", "presets", "compare", "conflicts", "bench", "export", "registry", "models", "init"),
)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    stage = {"modality": "image", "location": "projector", "mechanism": "random", "keep_ratio": 0.5}
    path.write_text(yaml.safe_dump({"version": 1, "stages": [stage]}))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert f"example:\n  autotc {command}" in out
    assert "--json" in out


def test_help_names_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4:5].strip()}
    assert listed == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["serach"], ["serach", "search"]),
        (["search", "--budget", "1.2"], ["--budget", "1.2", "(0, 1]"]),
        (["search", "--budget", "0"], ["--budget", "'0'", "(0, 1]"]),
        (["search", "--budget-video", "x"], ["--budget-video", "'x'", "(0, 1]"]),
        (["search", "--deployable-on", "lmdeploy"], ["--deployable-on", "lmdeploy", "vllm"]),
        (["search", "--architecture", "X"], ["--architecture", "--deployable-on"]),
        (["search", "--deployable-on", "vllm-built-in", "--space", "audio"], ["vLLM", "evs at the projector of video"]),
        (["export", "x.yaml"], ["--to"]),
        (["search", "--trials", "0"], ["--trials", "'0'", "from 1"]),
        (["search", "--seed", "-1"], ["--seed", "-1", "from 0"]),
        (["search", "--bugdet", "0.5"], ["--bugdet"]),
        (["check", "x.yaml", "--tolerance", "3"], ["--tolerance", "'3'", "[0, 1]"]),
        (["eval"], ["POLICY"]),
        (["eval", "none", "--split", "train"], ["--split", "train", "test"]),
        (["eval", "none.yaml"], ["none.yaml", "no such file"]),
        (["eval", "."], [".", "is a directory"]),
        (["check", "none.yaml"], ["none.yaml", "no such file"]),
        (["show", "none.yaml"], ["none.yaml", "no such file"]),
        (["eval", "none", "--metric", "exact"], ["--metric", "--data"]),
        (["search", "--space", "none.yaml"], ["none.yaml"]),
        (["search", "--space", "nothing"], ["nothing", "default"]),
        (["front", "--runs", "nowhere"], ["nowhere"]),
        (["study", "--runs", "nowhere"], ["nowhere"]),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in ["autotc", *parts]:
        assert part in err


def test_validate(capsys: pytest.CaptureFixture[str], policy: Path, tmp_path: Path) -> None:
    code, out, err = run(capsys, "validate", policy, search_space())
    assert (code, err) == (0, "")
    assert "a valid policy" in out
    assert "a valid search space" in out
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(policy.read_text().replace("0.5", "1.2"))
    code, out, err = run(capsys, "validate", wrong, policy, "--json")
    assert code == 2
    assert err.count("\n") == 1
    first, second = json.loads(out)
    assert (first["valid"], second["valid"]) == (False, True)
    assert "keep_ratio" in first["message"]
    assert first["message"] in err


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"model": {"architecture": "Other"}}, ["model.architecture", "'Other'", "supported"]),
        (
            {
                "stages": [
                    {"modality": "image", "location": "decoder", "layer": 0, "mechanism": "fastv", "keep_ratio": 0.5}
                ]
            },
            ["no_scores", "layer 0"],
        ),
    ],
)
def test_validate_knows_models_and_rules(
    capsys: pytest.CaptureFixture[str], policy: Path, change: dict[str, Any], parts: list[str]
) -> None:
    policy.write_text(yaml.safe_dump({**yaml.safe_load(policy.read_text()), **change}))
    code, out, err = run(capsys, "validate", policy)
    assert (code, out) == (2, "")
    for part in [str(policy), *parts]:
        assert part in err


def test_validate_knows_the_depths_of_the_embedded_model(capsys: pytest.CaptureFixture[str], policy: Path) -> None:
    from autotc.models import bind_config
    from autotc.tiny.config import build_config

    bound = bind_config(build_config(), "Qwen2_5OmniThinkerForConditionalGeneration")
    data = yaml.safe_load(policy.read_text())
    data["model"] = bound.reference.model_dump()
    data["stages"] = [{"modality": "image", "location": "decoder", "layer": 6, "mechanism": "fastv", "keep_ratio": 0.5}]
    policy.write_text(yaml.safe_dump(data))
    code, _, err = run(capsys, "validate", policy)
    assert code == 2
    assert "layer 6" in err
    assert "0 to 5" in err


def test_json_of_lists(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "presets", "--json")
    assert (code, err) == (0, "")
    keys = {"name", "family", "modalities", "locations", "needs", "paper", "flash_safe"}
    assert all(keys <= set(entry) for entry in json.loads(out))
    code, out, err = run(capsys, "models", "--json")
    assert (code, err) == (0, "")
    entries = json.loads(out)
    assert all(set(entry) == {"family", "architectures", "locations", "refused"} for entry in entries)
    places = {"input", "encoder", "projector", "decoder"}
    for entry in entries:
        for modality, offered in entry["locations"].items():
            assert places - {*offered} == set(entry["refused"].get(modality, {})), (entry["family"], modality)
    for command in ("presets", "models"):
        code, out, err = run(capsys, command)
        assert (code, err) == (0, "")
        assert out.count("\n") > 2


def test_presets_are_filtered_and_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "presets", "--family", "query", "--modality", "audio", "--no-flash-safe", "--json")
    assert (code, err) == (0, "")
    entries = json.loads(out)
    assert entries
    assert all(e["family"] == "query" and "audio" in e["modalities"] and not e["flash_safe"] for e in entries)
    code, out, _ = run(capsys, "presets", "pyramiddrop")
    assert "https://arxiv.org/abs/2410.17247" in out
    assert "layer 24 of 32" in out
    file = tmp_path / "p.yaml"
    code, out, err = run(capsys, "presets", "pyramiddrop", "--model", "llava-1.5-7b", "--keep", "0.125", "--out", file)
    assert (code, err) == (0, "")
    written = yaml.safe_load(file.read_text())
    assert written["model"]["architecture"] == "LlavaForConditionalGeneration"
    assert written["stages"][0]["layers"] == {8: 0.5, 16: 0.25, 24: 0.125}
    assert "not measured here" in written["note"]
    assert run(capsys, "validate", file)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["presets", "fastvv"], ["fastvv", "did you mean 'fastv'"]),
        (["presets", "--keep", "0.5"], ["--keep", "name of a preset"]),
        (["presets", "fastv", "--calibrate", "4"], ["--calibrate", "fitprune"]),
        (["presets", "a_tome", "--model", "llava-1.5-7b"], ["a_tome", "audio", "the model offers image"]),
        (["presets", "fastv", "--model", "no/such/folder"], ["model: no/such/folder"]),
        (["presets", "all"], ["--keep R and --out FOLDER"]),
        (["compare", "--presets", "fastvv"], ["fastvv", "did you mean 'fastv'"]),
        (["compare", "--tokens", "0.5,2"], ["--tokens", "'2'", "(0, 1]"]),
        (["compare", "--by", "layer"], ["--by", "location"]),
        (["compare", "--by", "location", "--mechanism", "nothing"], ["nothing", "known"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_presets_and_comparisons(
    capsys: pytest.CaptureFixture[str], arguments: list[str], parts: list[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(part in err for part in parts), err


def test_show(capsys: pytest.CaptureFixture[str], policy: Path) -> None:
    code, out, err = run(capsys, "show", policy)
    assert (code, err) == (0, "")
    assert "projector" in out
    assert "random" in out
    code, out, _ = run(capsys, "show", policy, "--json")
    assert json.loads(out)["stages"][0]["keep_ratio"] == 0.5
    assert "uncompressed" in run(capsys, "show", "none")[1]


def test_init_writes_what_validates_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "init", "--json")
    assert (code, err) == (0, "")
    files = json.loads(out)["files"]
    assert files[:2] == ["space.yaml", "data.jsonl"]
    assert all(Path(file).is_file() for file in files)
    assert run(capsys, "validate", *files[:2])[0] == 0
    code, out, err = run(capsys, "init")
    assert (code, out) == (2, "")
    assert "space.yaml: is there already" in err


def test_bugs_missing_extras_and_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(error: BaseException) -> None:
        def command(args: object) -> Output:
            raise error

        monkeypatch.setitem(program.COMMANDS, "models", replace(program.COMMANDS["models"], run=command))

    raising(ModuleNotFoundError("No module named 'jinja2'", name="jinja2.sandbox"))
    assert run(capsys, "models") == (2, "", "autotc models: jinja2 is not installed; pip install 'autotc[search]'\n")
    raising(MissingDependencyError("mlflow is not installed;\n pip install 'autotc[search]'"))
    assert run(capsys, "models")[0] == 2
    raising(KeyboardInterrupt())
    code, out, err = run(capsys, "models")
    assert (code, out) == (130, "")
    assert err.count("\n") == 1
    raising(ZeroDivisionError())
    code, out, err = run(capsys, "models")
    assert (code, out) == (70, "")
    assert err.startswith("autotc models: unexpected ZeroDivisionError")
    assert err.count("\n") == 1


def test_what_libraries_print_stays_off_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty(args: object) -> Output:
        print("View run at http://localhost")
        return Output({"x": float("nan"), "y": (1, Path("a"))}, "text", 1)

    monkeypatch.setitem(program.COMMANDS, "models", replace(program.COMMANDS["models"], run=chatty))
    code, out, err = run(capsys, "models", "--json")
    assert code == 1
    assert json.loads(out) == {"x": None, "y": [1, "a"]}
    assert "View run" in err


def test_as_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autotc.cli", "search", "--budget", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_bench_prints_what_it_measured(capsys: pytest.CaptureFixture[str], policy: Path) -> None:
    code, out, _ = run(capsys, "bench", policy, "--tokens", "64", "--repeats", "2", "--new-tokens", "2", "--json")
    assert code == 0
    rows = json.loads(out)
    (row,) = rows if isinstance(rows, list) else rows["rows"]
    assert row["prefill_ms"] > 0
    assert row["baseline_prefill_ms"] > 0
    assert row["predicted_speedup"] > 1
    assert row["kv_bytes"] < row["baseline_kv_bytes"]
    code, out, err = run(capsys, "bench", policy, "--random-weights", "no-such-shape")
    assert (code, out) == (2, "")
    assert "no-such-shape" in err
