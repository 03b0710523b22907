"""What lmms-eval's tasks show a model, as prompts and media that processors take."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.media import load_audio, load_image, load_video
from autotc.vocabulary import Group

Kind = Literal["images", "videos", "audio"]
MODALITIES: dict[Kind, str] = {"images": "image", "videos": "video", "audio": "audio"}
"""Key of a processor's media -> modality of its items, in the order of a group's name."""
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".webp")
_SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")


@dataclass(frozen=True)
class Reading:
    """How media are read.

    Attributes:
        rate: samples of audio a second; None where the processor takes no audio.
        frames: frames that a longer video is thinned to, evenly.
    """

    rate: int | None
    frames: int

    @classmethod
    def of(cls, processor: Any, frames: int = 32) -> Reading:
        """As the processor needs it."""
        extractor = getattr(processor, "feature_extractor", None)
        return cls(None if extractor is None else int(extractor.sampling_rate), frames)


@dataclass(frozen=True)
class Prompt:
    """A conversation, its media apart.

    Attributes:
        turns: as chat templates take them; media stand as placeholders ``{"type": "image"}``.
        media: ``images``, ``videos``, ``audio`` -> items in order of their placeholders.
    """

    turns: tuple[dict[str, Any], ...]
    media: Mapping[str, list[Any]]

    @property
    def group(self) -> str:
        """Modalities joined by ``+``; ``text`` without media."""
        return Group.of(name for kind, name in MODALITIES.items() if self.media.get(kind)) or "text"

    @property
    def text(self) -> str:
        """All that is written."""
        parts = [part for turn in self.turns for part in turn["content"] if part["type"] == "text"]
        return "\n".join(part["text"] for part in parts)


def simple_prompt(text: str, visuals: Sequence[Any] | None, reading: Reading) -> Prompt:
    """One turn of the user's: the media, then the text.

    Raises:
        DataError: a medium cannot be read.
    """
    content = [{"type": "media", "url": visual} for visual in visuals or ()]
    return chat_prompt([{"role": "user", "content": [*content, {"type": "text", "text": text}]}], reading)


def chat_prompt(messages: Sequence[Mapping[str, Any]], reading: Reading) -> Prompt:
    """A conversation in lmms-eval's form, ``{"type": "image", "url": ...}``.

    Raises:
        DataError: a medium cannot be read.
    """
    media: dict[str, list[Any]] = {}
    turns = []
    for message in messages:
        content = message["content"]
        parts = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                parts.append({"type": "text", "text": part["text"]})
                continue
            # What it is decides, not what it is called: lmms-eval calls every medium without a known ending a video.
            kind, item = read_medium(part.get("url", part.get(part["type"])), reading)
            media.setdefault(kind, []).append(item)
            parts.append({"type": MODALITIES[kind]})
        turns.append({"role": message["role"], "content": parts})
    ordered = {str(kind): media[kind] for kind in MODALITIES if kind in media}
    return Prompt(tuple(turns), ordered)


def read_medium(value: Any, reading: Reading) -> tuple[Kind, Any]:
    """A picture (Pillow, RGB), a video (T, H, W, 3) uint8 or a clip (n,) float32 at the processor's rate.

    Args:
        value: a Pillow image; a path; a dict with ``array`` and ``sampling_rate``, ``bytes`` or ``path``; a decoder of
            `datasets`; frames as a list or an array.
        reading: how media are read.

    Raises:
        DataError: it cannot be read, or is none of these.
    """
    if isinstance(value, Image.Image):
        return "images", value.convert("RGB")
    if isinstance(value, (str, Path)):
        return _file(Path(value), reading)
    if isinstance(value, Mapping):
        if value.get("array") is not None:
            return "audio", _wave(value["array"], value.get("sampling_rate"), reading)
        if value.get("bytes") is not None:
            return _encoded(bytes(value["bytes"]), reading)
        for key in ("url", "path"):
            if value.get(key) is not None:
                return read_medium(value[key], reading)
    if hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        return "audio", _wave(samples.data.numpy().mean(0), samples.sample_rate, reading)
    if isinstance(value, (list, tuple)) and value:
        frames = [np.asarray(frame.convert("RGB") if hasattr(frame, "convert") else frame) for frame in value]
        return "videos", _thinned(np.stack(frames), reading)
    array = np.asarray(value) if hasattr(value, "__array__") else None
    if array is not None and array.ndim == 4:
        last = array if array.shape[-1] == 3 else array.transpose(0, 2, 3, 1)
        return "videos", _thinned(last.astype(np.uint8), reading)
    if array is not None and array.ndim == 1:
        return "audio", _wave(array, None, reading)
    raise DataError(f"a medium of type {type(value).__name__}: a picture, a video, a sound or the path of one is right")


def _file(path: Path, reading: Reading) -> tuple[Kind, Any]:
    ending = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file; the task's media have to be downloaded first")
    if ending in _PICTURES:
        return "images", load_image(path)
    if ending in _SOUNDS:
        return "audio", load_audio(path, _rate(reading))
    if path.is_dir() or ending in (".npy", ".gif"):
        return "videos", _thinned(load_video(path).frames, reading)
    return "videos", _decoded(path, reading)


def _encoded(data: bytes, reading: Reading) -> tuple[Kind, Any]:
    with io.BytesIO(data) as file:
        try:
            return "images", Image.open(file).convert("RGB")
        except OSError:
            import soundfile

            file.seek(0)
            try:
                wave, rate = soundfile.read(file, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise DataError("bytes of a medium: neither a picture nor a sound that can be read") from error
            return "audio", _wave(wave.mean(1), rate, reading)


def _rate(reading: Reading) -> int:
    if reading.rate is None:
        raise DataError("the task has audio, and the model's processor takes none; give a model that hears")
    return reading.rate


def _wave(array: Any, own: int | None, reading: Reading) -> NDArray[np.float32]:
    rate = _rate(reading)
    wave = np.asarray(array, dtype=np.float32)
    if own is not None and int(own) != rate:
        from scipy.signal import resample_poly

        wave = resample_poly(wave, rate, int(own)).astype(np.float32)
    return wave


def _thinned(frames: NDArray[Any], reading: Reading) -> NDArray[Any]:
    if len(frames) <= reading.frames:
        return frames
    taken: NDArray[Any] = frames[np.linspace(0, len(frames) - 1, reading.frames).round().astype(int)]
    return taken


def _decoded(path: Path, reading: Reading) -> NDArray[Any]:
    """Evenly spaced frames of a video file; lmms-eval brings the decoder."""
    import av

    try:
        with av.open(str(path)) as container:
            total = container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
            container.seek(0)
            count = min(total, reading.frames)
            wanted = set(np.linspace(0, total - 1, count).round().astype(int).tolist())
            frames = [f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i in wanted]
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path}: cannot be decoded as a video ({error}); mp4, webm, mkv or avi is expected") from error
    return np.stack(frames)
