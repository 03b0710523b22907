"""Media in every form that lmms-eval's tasks hand over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.lmms.prompts import chat_prompt, simple_prompt
from autotc.evaluate.media import Reading, read_medium

HEARS = Reading(rate=1600, frames=4)
SEES = Reading(rate=None, frames=4)
PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
WAVE = np.sin(np.arange(3200) / 10).astype(np.float32)


def encoded(path: Path, frames: int) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        for i in range(frames):
            image = np.full((32, 32, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_pictures(tmp_path: Path) -> None:
    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    PICTURE.save(tmp_path / "a.png")
    stored = {"bytes": file.getvalue(), "path": None}
    for value in (PICTURE, PICTURE.convert("RGBA"), stored, str(tmp_path / "a.png"), {"url": str(tmp_path / "a.png")}):
        kind, item = read_medium(value, SEES)
        assert kind == "images"
        assert item.mode == "RGB"
        assert np.array_equal(np.asarray(item), np.asarray(PICTURE))


def test_sounds_come_at_the_processors_rate(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", WAVE, 3200)
    clips: list[Any] = [
        {"array": WAVE, "sampling_rate": 3200},
        {"bytes": (tmp_path / "a.wav").read_bytes(), "path": "a.wav"},
        str(tmp_path / "a.wav"),
    ]
    for clip in clips:
        kind, item = read_medium(clip, HEARS)
        assert kind == "audio"
        assert item.dtype == np.float32
        assert len(item) == 1600
        assert np.allclose(item[100:-100], WAVE[::2][100:-100], atol=0.02)
    assert np.array_equal(read_medium({"array": WAVE, "sampling_rate": 1600}, HEARS)[1], WAVE)
    with pytest.raises(DataError, match="give a model that hears"):
        read_medium(clips[0], SEES)


def test_videos_are_thinned_evenly(tmp_path: Path) -> None:
    frames = np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(10)])
    np.save(tmp_path / "a.npy", frames)
    forms: list[Any] = [
        frames,
        list(frames),
        [Image.fromarray(f) for f in frames],
        tmp_path / "a.npy",
        frames.transpose(0, 3, 1, 2),
    ]
    for value in forms:
        kind, item = read_medium(value, SEES)
        assert kind == "videos"
        assert item.shape == (4, 8, 8, 3)
        assert item[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    decoded = read_medium(str(encoded(tmp_path / "a.mp4", 10)), SEES)[1]
    assert decoded.shape == (4, 32, 32, 3)
    assert np.allclose(decoded[:, 16, 16, 0], [0, 60, 120, 180], atol=8)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    for value, part in [
        (str(tmp_path / "none.mp4"), "no such file"),
        (str(tmp_path / "bad.mp4"), "cannot be decoded"),
        ({"bytes": b"nothing"}, "neither a picture nor a sound"),
        (7, "of type int"),
    ]:
        with pytest.raises(DataError, match=part):
            read_medium(value, HEARS)


def test_prompts_keep_the_order_and_what_a_medium_is() -> None:
    """lmms-eval calls an undeclared clip a video; what it holds decides."""
    clip = {"array": WAVE, "sampling_rate": 1600}
    content = [
        {"type": "text", "text": "a"},
        {"type": "video", "url": clip},
        {"type": "image", "url": PICTURE},
        {"type": "text", "text": "b"},
    ]
    prompt = chat_prompt([{"role": "system", "content": "s"}, {"role": "user", "content": content}], HEARS)
    assert [part["type"] for part in prompt.turns[1]["content"]] == ["text", "audio", "image", "text"]
    assert prompt.group == "image+audio"
    assert list(prompt.media) == ["images", "audio"]
    assert prompt.text == "s\na\nb"
    simple = simple_prompt("b", [PICTURE, clip], HEARS)
    assert [part["type"] for part in simple.turns[0]["content"]] == ["image", "audio", "text"]
    assert simple_prompt("b", None, HEARS).group == "text"
