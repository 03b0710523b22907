"""A server that was killed and started again says what it said before."""

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


def test_a_killed_and_restarted_server_serves_the_same(tmp_path: Path) -> None:
    stage = Stage(modality="image", location="projector", layer=None, mechanism="tome", keep_ratio=0.5)
    policy = Policy(stages=(stage,))
    file = policy.save(tmp_path / "x.yaml")
    content = [{"type": "image"}, {"type": "text", "text": "which digit is red"}]
    questions = [
        Question(f"q{seed}", [{"role": "user", "content": content}], {"images": [picture(seed, 40, 48)]}, 8)
        for seed in range(4)
    ]
    said = []
    for _ in range(2):
        with running(str(checkpoint("qwen2_5_vl")), ARGUMENTS, file) as url:
            check_serves(url, served_name(url), policy.content_hash())
            said.append(ServerClient(url).answers(policy, questions))
            for process in psutil.Process().children(recursive=True):
                os.kill(process.pid, signal.SIGKILL)
            assert not healthy(url)
    assert said[0] == said[1]
    assert all(said[0])
