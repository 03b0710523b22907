"""Media that are wrong, hostile or unusual: told in one line, or read as the processor would."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import load_image as transformers_load_image

from autotc.errors import AutotcWarning, DataError
from autotc.evaluate.media import Reading, as_rgb, decoding, load_audio, load_image, load_video, read_medium
from autotc.evaluate.records import check_headers, load_records

GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def told(work: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        work()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


# --- as the processor would read them ---


def test_transparency_is_put_on_white_as_transformers_does(tmp_path: Path) -> None:
    alpha = np.zeros((8, 8, 4), np.uint8)
    alpha[..., 0], alpha[..., 3] = 200, GRADIENT
    layers = [Image.fromarray(alpha), Image.fromarray(alpha).convert("LA")]
    palette = Image.fromarray(GRADIENT).convert("P")
    palette.info["transparency"] = 0
    for i, picture in enumerate([*layers, palette]):
        path = tmp_path / f"{i}.png"
        picture.save(path)
        with Image.open(path) as stored:
            expected = convert_to_rgb(stored, return_numpy=True)
        assert np.array_equal(np.asarray(load_image(path)), expected)
        assert np.array_equal(np.asarray(read_medium(picture, Reading(None, None))[1])[0, 0], expected[0, 0])
    assert np.asarray(load_image(tmp_path / "0.png"))[0, 0].tolist() == [255, 255, 255]


def test_pictures_stand_upright_as_transformers_reads_them(tmp_path: Path) -> None:
    picture = Image.fromarray(np.stack([GRADIENT[:4]] * 3, -1))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    turned = load_image(tmp_path / "a.png")
    assert turned.size == (4, 8)
    assert np.array_equal(np.asarray(turned), np.asarray(transformers_load_image(str(tmp_path / "a.png"))))
    with Image.open(tmp_path / "a.png") as stored:
        assert np.array_equal(np.asarray(as_rgb(stored)), np.asarray(ImageOps.exif_transpose(stored).convert("RGB")))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_deep_pictures_are_scaled(tmp_path: Path, ending: str) -> None:
    Image.fromarray(GRADIENT.astype(np.uint16) * 257).save(tmp_path / f"a.{ending}")
    assert np.array_equal(np.asarray(load_image(tmp_path / f"a.{ending}"))[..., 0], GRADIENT)
    for name, scale in (("share", 1 / 255), ("eight", 1.0), ("sixteen", 257.0)):
        Image.fromarray((GRADIENT * scale).astype(np.float32)).save(tmp_path / f"{name}.tiff")
        assert np.array_equal(np.asarray(load_image(tmp_path / f"{name}.tiff"))[..., 0], GRADIENT)
    for name, value in (("nan", np.nan), ("low", -1.0), ("high", 1e9)):
        Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / f"{name}.tiff")
        assert "16 bits or floats in [0, 1] are expected" in told(
            lambda name=name: load_image(tmp_path / f"{name}.tiff")
        )


def test_frames_of_floats_are_scaled_too() -> None:
    frames = np.stack([np.stack([GRADIENT] * 3, -1)] * 2) / 255
    for value in (frames, list(frames)):
        assert np.array_equal(read_medium(value, Reading(None, 4))[1][0, ..., 0], GRADIENT)


# --- refused ---


def bomb(kind: str, size: int) -> bytes:
    """A small file of many pixels."""
    file = io.BytesIO()
    if kind == "ppm":
        return f"P6 {size} {size} 255\n".encode() + b"\0" * 100
    Image.new("1", (size, size)).save(file, {"png": "PNG", "gif": "GIF", "tiff": "TIFF", "webp": "WEBP"}[kind])
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "gif", "tiff", "ppm"])
@pytest.mark.parametrize(("size", "pixels"), [(14_000, "196000000 pixels"), (10_000, "10000 x 10000 pixels")])
def test_bombs(tmp_path: Path, kind: str, size: int, pixels: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bomb(kind, size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = told(lambda: load_image(path))
    assert pixels in message


def damaged() -> dict[str, bytes]:
    files: dict[str, bytes] = {"empty.png": b"", "text.png": b"no picture", "a.ppm": b"P6 9 9", "a.dds": b"DDS " * 40}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name in ("png", "jpeg", "webp", "bmp", "gif", "tiff"):
        file = io.BytesIO()
        picture.save(file, name)
        files[f"cut.{name}"] = file.getvalue()[: len(file.getvalue()) // 2]
    return files


@pytest.mark.parametrize("name", sorted(damaged()))
def test_damaged_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(damaged()[name])
    assert name in told(lambda: load_image(tmp_path / name))


def wav(frames: int = 1000, rate: int = 8000, size: int | None = None) -> bytes:
    data = struct.pack("<hh", 100, -100) * (frames // 2)
    size = len(data) if size is None else size
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                       b"data", size)  # fmt: skip
    return head + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be decoded"),
        (b"no sound", "cannot be decoded"),
        (wav()[:1000], "is cut short: 956 of 2,000 bytes"),
        (wav(size=2**31), "is cut short"),
        (wav(rate=1), "1 samples a second"),
        (wav(rate=2**31 - 1), "samples a second"),
        (wav(frames=40), "holds 0.0050 s of sound"),
        (wav(frames=0), "holds 0.0000 s of sound"),
        (b"RIFF" + b"\xff" * 60, "cannot be decoded"),
        (b"fLaC" + b"\xff" * 60, "cannot be decoded"),
    ],
)
def test_sound_whose_header_lies(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    assert message in told(lambda: load_audio(path, 16_000))


def test_sound_that_is_no_number(tmp_path: Path) -> None:
    wave = np.zeros(1000, np.float32)
    wave[3] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    assert "1 of 1,000 samples are not finite" in told(lambda: load_audio(tmp_path / "a.wav", 8000))


def test_sound_that_the_processor_cuts_is_told_once(tmp_path: Path) -> None:
    for name, seconds in (("long", 3), ("short", 1)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(seconds * 8000), 8000)
    reading = Reading(8000, None, seconds=2.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            assert len(reading.sound(tmp_path / "long.wav")) == 24_000
            reading.sound(tmp_path / "short.wav")
    (warning,) = caught
    assert issubclass(warning.category, AutotcWarning)
    assert "long.wav: 3.0 s of sound; the model's processor takes 2 s, the last 1.0 s are lost" in str(warning.message)


def npy(shape: tuple[int, ...], dtype: Any = np.uint8, data: bytes = b"") -> bytes:
    file = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npy", b"", "cannot be decoded"),
        ("a.npy", npy((2**20, 2**20, 2**20, 3)), "cannot be decoded"),
        ("a.npy", npy((4, 8, 8, 3), data=b"\0" * 10), "cannot be decoded"),
        ("a.npy", npy((4, 8, 8, 3), object, b"\0" * 10_000), "cannot be decoded"),
        ("a.npy", npy((4, 8, 8), data=b"\0" * 256), "of shape (4, 8, 8)"),
        ("a.gif", b"GIF89a" + b"\xff" * 40, "cannot be decoded"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 40, "cannot be decoded"),
        ("a.mp4", wav(), "holds no video"),
        ("a.webm", b"", "cannot be decoded"),
    ],
)
def test_damaged_video(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert message in told(lambda: load_video(tmp_path / name))


def test_a_decoder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(decoding, "SECONDS", 0.05)
    assert "a.png: was not read within 0.05 s" in told(lambda: decoding.decoded("a.png", "x", threading.Event().wait))


def test_devices_and_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero")):
        assert "is no regular file" in told(lambda path=path: load_image(path))
        assert "is no regular file" in told(lambda path=path: load_audio(path, 8000))


def test_the_line_of_the_data_file_is_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb("png", 10_000))
    (tmp_path / "a.wav").write_bytes(wav()[:1000])
    (tmp_path / "a.mp4").write_bytes(b"no video")
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    for kind, name in (("images", "a.png"), ("audio", "a.wav"), ("video", "a.mp4")):
        rows = [{"id": "1", "images": "good.png"}, {"id": "2", kind: name}]
        path = tmp_path / "data.jsonl"
        path.write_text("\n".join(json.dumps({**row, "prompt": "p", "answer": "a"}) for row in rows))
        message = told(lambda path=path: check_headers(path, load_records(path)))
        assert f"data.jsonl: line 2: {kind}: " in message
        assert name in message
