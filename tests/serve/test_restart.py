"""What a server says depends neither on an earlier life of it, nor on its ranks, nor on compilation."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here")

from autotc.bench.serving.run import check_serves, served_name
from autotc.bench.serving.servers import healthy, running
from autotc.evaluate.engines.client import Question
from autotc.evaluate.engines.server import ServerClient
from autotc.policy import Policy, Stage

from .engines import checkpoint, picture

ARGUMENTS = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True}


def policy(mechanism: str) -> Policy:
    stage = Stage(modality="image", location="projector", layer=None, mechanism=mechanism, keep_ratio=0.5)
    return Policy(stages=(stage,))


def questions() -> list[Question]:
    content = [{"type": "image"}, {"type": "text", "text": "which digit is red"}]
    return [
        Question(f"q{seed}", [{"role": "user", "content": content}], {"images": [picture(seed, 40, 48)]}, 8)
        for seed in range(4)
    ]


def test_a_killed_and_restarted_server_serves_the_same(tmp_path: Path) -> None:
    served = policy("tome")
    file = served.save(tmp_path / "x.yaml")
    said = []
    for _ in range(2):
        with running(str(checkpoint("qwen2_5_vl")), ARGUMENTS, file) as url:
            check_serves(url, served_name(url), served.content_hash())
            said.append(ServerClient(url).answers(served, questions()))
            for process in psutil.Process().children(recursive=True):
                os.kill(process.pid, signal.SIGKILL)
            assert not healthy(url)
    assert said[0] == said[1]
    assert all(said[0])


@pytest.mark.parametrize("changed", [{"tensor_parallel_size": 2}, {"enforce_eager": False}], ids=str)
def test_ranks_and_compilation_say_the_same(
    changed: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = policy("divprune")
    file = served.save(tmp_path / "x.yaml")
    said = []
    for arguments in (ARGUMENTS, {**ARGUMENTS, **changed}):
        if "tensor_parallel_size" in arguments:
            monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")  # a core for each rank
        with running(str(checkpoint("qwen2_5_vl")), arguments, file) as url:
            said.append(ServerClient(url).answers(served, questions()))
    assert said[0] == said[1]
