"""Samples of the user's own, answered by transformers, by the engine in process and by a server: the same answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("vllm", reason="vLLM is not installed here")

import autotc
from autotc.evaluate.engines import EngineOptions
from autotc.policy import Policy, Stage

from .checkpoints import save

WORDS = ["0", "1", "2", "3", "red", "blue", "which", "digit", "is", "colour"]
POLICY = Policy(
    stages=(
        Stage(modality="image", location="projector", mechanism="cdpruner", keep_ratio=0.5),
        Stage(modality="video", location="projector", mechanism="tome", keep_ratio=0.5),
    )
)
ARGUMENTS = {"dtype": "float32", "max_model_len": 1024, "enforce_eager": True}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("engine") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 prompts with one picture or two, and six with a clip."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []

    def picture(height: int, width: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))

    for i in range(24):
        picture(*[(40, 56), (48, 32), (32, 32), (56, 48)][i % 4]).save(folder / f"{i}.png")
        names = [f"{i}.png"] if i % 5 else [f"{i}.png", f"{max(0, i - 1)}.png"]
        rows.append({"id": f"i{i}", "images": names, "prompt": f"which digit is {WORDS[i % 10]}", "answer": "red"})
    for i in range(6):
        first, *rest = [picture(32, 40) for _ in range(4)]
        first.save(folder / f"{i}.gif", save_all=True, append_images=rest, duration=200)
        rows.append({"id": f"v{i}", "video": f"{i}.gif", "prompt": f"which colour is {WORDS[i]}", "answer": "blue"})
    file = folder / "ours.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def said(evaluator: Any, policy: Policy) -> dict[str, tuple[str, float]]:
    results = autotc.evaluate(policy, evaluator, split="search").results
    return {sample.id: (sample.answer, sample.correct) for sample in results.samples}


@pytest.fixture(scope="module")
def expected(checkpoint: Path, data: Path) -> dict[str, dict[str, tuple[str, float]]]:
    evaluator = autotc.evaluator(checkpoint, data=data, metric="contains")
    return {policy.content_hash(): said(evaluator, policy) for policy in (Policy(), POLICY)}


def test_in_process_says_what_transformers_does(
    checkpoint: Path, data: Path, expected: dict[str, dict[str, tuple[str, float]]]
) -> None:
    engine = EngineOptions(arguments=ARGUMENTS)
    evaluator = autotc.evaluator(checkpoint, data=data, metric="contains", engine=engine)
    assert all(p.device.type == "meta" for p in evaluator.loaded.parameters())
    for policy in (Policy(), POLICY):
        assert said(evaluator, policy) == expected[policy.content_hash()]
    assert expected[Policy().content_hash()] != expected[POLICY.content_hash()]
    assert "vllm" in (evaluator.stamp("search").attention or "")


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path) -> Iterator[str]:
    path = POLICY.save(tmp_path / "policy.yaml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
        str(checkpoint),
        "--port",
        str(port),
        "--dtype",
        "float32",
        "--max-model-len",
        "1024",
        "--enforce-eager",
        "--trust-request-mm-kwargs",
        "--additional-config",
        json.dumps({"autotc": {"policy": str(path)}}),
    ]
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5)
                break
            except OSError:
                time.sleep(1)
        assert process.poll() is None, (tmp_path / "server.log").read_text()[-3000:]
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        log.close()


@pytest.mark.full
def test_a_server_says_what_transformers_does(
    checkpoint: Path, data: Path, expected: dict[str, dict[str, tuple[str, float]]], server: str
) -> None:
    evaluator = autotc.evaluator(checkpoint, data=data, metric="contains", engine=EngineOptions(server=server))
    assert said(evaluator, POLICY) == expected[POLICY.content_hash()]
