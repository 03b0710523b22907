"""Policies that an engine cannot serve are refused before it starts, in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotc.errors import PolicyError
from autotc.policy import ModelReference, Policy, Stage
from autotc.serve import read_served, serve_refusal

HALF = Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5)
QWEN = "Qwen2_5_VLForConditionalGeneration"


def stage(modality: Any, location: Any, mechanism: str, **more: Any) -> Stage:
    return Stage(modality=modality, location=location, mechanism=mechanism, **{"keep_ratio": 0.5, **more})


@pytest.mark.parametrize(
    ("architecture", "wrong", "told"),
    [
        ("Gemma3ForConditionalGeneration", HALF, "autotc serves LlavaForConditionalGeneration, .* not Gemma3"),
        ("LlavaForConditionalGeneration", stage("video", "projector", "divprune"), "reduces image of Llava"),
        (QWEN, stage("audio", "projector", "divprune"), "reduces image and video of Qwen2_5"),
        (QWEN, stage("image", "encoder", "tome", layer=1), "inside the tower"),
        (QWEN, stage("image", "decoder", "fastv", layer=2), "paged keys and values"),
        (QWEN, stage("image", "projector", "prumerge", params={"adaptive": True}), "adaptive: true sets its own count"),
        (QWEN, stage("video", "projector", "omnizip_video"), "guided by audio"),
        ("Qwen3VLForConditionalGeneration", stage("video", "projector", "cdpruner"), "time stamps"),
    ],
)
def test_stages(architecture: str, wrong: Stage, told: str) -> None:
    import re

    assert re.search(told, serve_refusal(wrong, architecture) or "")
    assert serve_refusal(HALF, QWEN) is None
    assert serve_refusal(HALF, None) is None


def test_settings(tmp_path: Path) -> None:
    file = Policy(stages=(HALF,)).save(tmp_path / "p.yaml")
    served = read_served({"policy": str(file)})
    assert served.policy == Policy.load(file)
    assert read_served({"policy": str(file), "hash": served.hash}) == served
    Policy(stages=(stage("image", "projector", "tome"),)).save(file)
    assert served.hash == Policy(stages=(HALF,)).content_hash()  # what was read stays what it was
    with pytest.raises(PolicyError, match=rf"hash: '{served.hash}' given, .*p.yaml now holds .*changed"):
        read_served({"policy": str(file), "hash": served.hash})
    empty = Policy().save(tmp_path / "none.yaml")
    for settings, told in (
        ("p.yaml", r"additional_config.autotc: 'p.yaml' given; \{\"policy\""),
        ({"path": str(file)}, "is right"),
        ({"policy": str(file), "strict": True}, "additional_config.autotc.strict: unknown; policy and hash are known"),
        ({"policy": str(tmp_path / "gone.yaml")}, "gone.yaml"),
        ({"policy": str(empty)}, "stages: none"),
    ):
        with pytest.raises(PolicyError, match=told):
            read_served(settings)


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    pytest.importorskip("vllm", reason="vLLM is not installed here")
    from .engines import checkpoint as made

    return made("qwen2_5_vl")


def configured(checkpoint: Path, file: Path, **more: Any) -> Any:
    from vllm import EngineArgs

    options = {"dtype": "float32", "max_model_len": 512, "additional_config": {"autotc": {"policy": str(file)}}}
    return EngineArgs(str(checkpoint), **{**options, **more}).create_engine_config()


def test_engines_settings(checkpoint: Path, tmp_path: Path) -> None:
    half = Policy(stages=(HALF,)).save(tmp_path / "half.yaml")
    reading = Policy(stages=(stage("image", "projector", "visionzip"),)).save(tmp_path / "reading.yaml")
    other = Policy(stages=(HALF,), model=ModelReference(architecture="LlavaForConditionalGeneration"))
    deep = Policy(stages=(stage("image", "decoder", "fastv", layer=2),))
    config = configured(checkpoint, half)
    assert config.model_config.hf_config.architectures == [f"Autotc{QWEN}"]
    assert config.model_config.multimodal_config.is_multimodal_pruning_enabled()
    for file, more, told in (
        (half, {"video_pruning_rate": 0.5}, "video_pruning_rate: the policy prunes already"),
        (reading, {"tensor_parallel_size": 2}, "tensor_parallel_size: 2 given; visionzip reads the tower's attention"),
        (half, {"pipeline_parallel_size": 2}, "pipeline_parallel_size: 1 is right"),
        (other.save(tmp_path / "other.yaml"), {}, "is for LlavaForConditionalGeneration, the model is a Qwen2_5"),
        (deep.save(tmp_path / "deep.yaml"), {}, r"stages.0 .*paged keys .*autotc export .* --to vllm"),
    ):
        with pytest.raises(PolicyError, match=told):
            configured(checkpoint, file, **more)


def test_a_server_says_it_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    settings = json.dumps({"autotc": {"policy": str(tmp_path / "gone.yaml")}})
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(checkpoint), "--additional-config"]
    done = subprocess.run([*command, settings], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("autotc: ")]
    assert "gone.yaml" in line
