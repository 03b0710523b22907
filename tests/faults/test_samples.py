"""Samples that can be read, and that a model's processor or the model does not take: told by their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.policy import UNCOMPRESSED
from autotc.search.session import search
from autotc.search.space import SearchSpace

from ..models.checkpoints import PROCESSORS
from ..models.families import FAMILIES

SPACE = """
version: 1
step: 0.05
modalities:
  image:
    max_stages: 1
    choices:
      - {mechanism: uniform_stride, location: projector, keep_ratio: [0.1, 0.9]}
"""


def evaluator(name: str, folder: Path, kind: str, bad: Any, **changes: Any) -> JsonlEvaluator:
    """Six lines, the third of them with a medium or a key that is wrong."""
    rows = []
    for i in range(6):
        Image.fromarray(np.full((40, 40, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
        np.save(folder / f"{i}.npy", np.full((8, 32, 32, 3), 20 * i, np.uint8))
        soundfile.write(folder / f"{i}.wav", np.sin(np.arange(16_000) * (i + 1) / 9), 16_000)
        ending = {"images": "png", "video": "npy", "audio": "wav"}[kind]
        rows.append({"id": str(i), kind: f"{i}.{ending}", "prompt": "which digit is red", "answer": "red"})
    rows[2] |= {kind: bad, **changes}
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return JsonlEvaluator(path, FAMILIES[name].build(), PROCESSORS[name](), batch_size=4, max_new_tokens=2)


def told(made: JsonlEvaluator) -> str:
    messages = []
    for look in (
        lambda: made.check_media(("search", "val", "test")),
        lambda: [made.run(UNCOMPRESSED, split) for split in ("search", "val", "test")],
    ):
        with pytest.raises(DataError) as caught:
            look()
        messages.append(str(caught.value))
    assert all("data.jsonl: line 3: " in message and len(message) < 500 for message in messages)
    assert all(message.isprintable() for message in messages)
    return messages[0]


def test_a_picture_too_narrow(tmp_path: Path) -> None:
    Image.new("RGB", (900, 2)).save(tmp_path / "narrow.png")
    message = told(evaluator("qwen2_5_vl", tmp_path, "images", "narrow.png"))
    assert (
        "the model's processor does not take it (ValueError: absolute aspect ratio must be smaller than 200" in message
    )


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 32, 32, 3), np.uint8))
    assert "does not take it" in told(evaluator("qwen3_vl", tmp_path, "video", "one.npy"))


def test_a_placeholder_in_a_prompt(tmp_path: Path) -> None:
    prompt = "<image>\nwhich digit is red"
    with pytest.raises(DataError, match="line 3: prompt: holds '<image>', which the model takes for a medium"):
        evaluator("llava", tmp_path, "images", "2.png", prompt=prompt)
    made = evaluator("qwen2_5_vl", tmp_path, "images", "2.png", prompt=prompt)  # there it is a text like any other
    assert len(made.run(UNCOMPRESSED, "search")) > 0


def test_a_very_short_clip(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(80), 16_000)
    assert "audio: " in told(evaluator("qwen2_audio", tmp_path, "audio", "short.wav"))
    soundfile.write(tmp_path / "short.wav", np.zeros(400), 16_000)
    with pytest.raises(DataError, match=r"data\.jsonl: line 3: .* a token takes at least 3"):
        evaluator("qwen2_audio", tmp_path, "audio", "short.wav").check_media(("search", "val", "test"))
    soundfile.write(tmp_path / "short.wav", np.zeros(800), 16_000)
    made = evaluator("qwen2_audio", tmp_path, "audio", "short.wav")
    made.check_media(("search", "val", "test"))
    for split in ("search", "val", "test"):
        made.run(UNCOMPRESSED, split)


@pytest.mark.parametrize("number", [0, 2, 4, 5])
def test_a_search_finds_a_damaged_sample_of_any_split_before_it_starts(tmp_path: Path, number: int) -> None:
    made = evaluator("qwen2_5_vl", tmp_path, "images", "2.png")
    whole = (tmp_path / f"{number}.png").read_bytes()
    (tmp_path / f"{number}.png").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(DataError, match=rf"data\.jsonl: line {number + 1}: images: .*{number}\.png: cannot be decoded"):
        search(
            made,
            space=SearchSpace.from_yaml(SPACE),
            budget=0.95,
            runs=tmp_path / "runs",
            out_dir=tmp_path / "policies",
            trials=1,
            track=False,
        )
    assert not (tmp_path / "policies").exists()
    assert not list(tmp_path.glob("runs/*/*"))
