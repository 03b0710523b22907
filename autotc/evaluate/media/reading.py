"""Media in every form that data files and lmms-eval's tasks hand over, as processors take them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autotc.errors import AutotcWarning, DataError
from autotc.evaluate.media.audio import decode_audio, load_audio, resampled
from autotc.evaluate.media.pictures import as_bytes, as_rgb, decode_image, load_image, shown_name
from autotc.evaluate.media.video import FILE_FRAMES, load_video, load_video_file, stacked, thinned

Kind = Literal["images", "videos", "audio"]
MODALITIES: dict[Kind, str] = {"images": "image", "videos": "video", "audio": "audio"}
"""Key of a processor's media -> modality of its items, in the order of a group's name."""
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".webp")
SOUND_SUFFIXES = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")


@dataclass(frozen=True)
class Reading:
    """How media are read.

    Attributes:
        rate: samples of audio a second; None where the processor takes no audio.
        frames: frames that a longer video is thinned to, evenly; None keeps all but of video files.
        seconds: of audio that the processor takes of a clip; it leaves out the rest. None where it has no limit.
    """

    rate: int | None
    frames: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, processor: Any, frames: int | None = None) -> Reading:
        """As the processor needs it."""
        extractor = getattr(processor, "feature_extractor", None)
        if extractor is None:
            return cls(None, frames)
        rate = int(extractor.sampling_rate)
        samples = getattr(extractor, "n_samples", None)
        return cls(rate, frames, None if not samples else samples / rate)

    def sound(self, path: Path) -> NDArray[np.float32]:
        """A file of sound (n,) at the processor's rate.

        Raises:
            DataError: it cannot be read, or the processor takes no audio.
        """
        return self.heard(load_audio(path, self.hearing()), shown_name(path))

    def hearing(self) -> int:
        """Samples of audio a second.

        Raises:
            DataError: the processor takes no audio.
        """
        if self.rate is None:
            raise DataError("audio is given, and the model's processor takes none; give a model that hears")
        return self.rate

    def heard(self, wave: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """A clip; a warning says what the processor will leave out."""
        seconds = len(wave) / self.hearing()
        if self.seconds is not None and seconds > self.seconds:
            warnings.warn(
                f"{name}: {seconds:.1f} s of sound; the model's processor takes {self.seconds:g} s, the last"
                f" {seconds - self.seconds:.1f} s are lost",
                AutotcWarning,
                stacklevel=2,
            )
        return wave


def read_medium(value: Any, reading: Reading, name: str = "a medium") -> tuple[Kind, Any]:
    """A picture (Pillow, RGB), a video (T, H, W, 3) uint8 or a clip (n,) float32 at the processor's rate.

    Args:
        value: a Pillow image; a path; a dict with ``array`` and ``sampling_rate``, ``bytes`` or ``path``; a decoder of
            `datasets`; frames as a list or an array.
        reading: how media are read.
        name: of the medium, for errors.

    Raises:
        DataError: it cannot be read, or is none of these.
    """
    if hasattr(value, "getbands"):
        return "images", as_rgb(value, name)
    if isinstance(value, (str, Path)):
        return _file(Path(value), reading)
    if isinstance(value, Mapping):
        return _mapping(value, reading, name)
    if hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        return "audio", _wave(samples.data.numpy().mean(0), samples.sample_rate, reading, name)
    if isinstance(value, (list, tuple)) and value:
        return "videos", thinned(_frames(value, name), reading.frames)
    array = np.asarray(value) if hasattr(value, "__array__") else None
    if array is not None and array.ndim == 4:
        return "videos", as_bytes(thinned(_channels_last(array, name), reading.frames), name)
    if array is not None and array.ndim == 1:
        return "audio", _wave(array, None, reading, name)
    raise DataError(f"{name} of type {type(value).__name__}: a picture, a video, a sound or the path of one is right")


def _file(path: Path, reading: Reading) -> tuple[Kind, Any]:
    ending = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file; the task's media have to be downloaded first")
    if ending in PICTURE_SUFFIXES:
        return "images", load_image(path)
    if ending in SOUND_SUFFIXES:
        return "audio", reading.sound(path)
    if path.is_dir() or ending in (".npy", ".gif"):
        return "videos", load_video(path, reading.frames).frames
    return "videos", load_video_file(path, reading.frames or FILE_FRAMES).frames


def _mapping(value: Mapping[str, Any], reading: Reading, name: str) -> tuple[Kind, Any]:
    if value.get("array") is not None:
        return "audio", _wave(value["array"], value.get("sampling_rate"), reading, name)
    if value.get("bytes") is not None:
        return _encoded(bytes(value["bytes"]), reading)
    for key in ("url", "path"):
        if value.get(key) is not None:
            return read_medium(value[key], reading, name)
    raise DataError(f"{name}: a dict of {', '.join(map(str, value))}; one with array, bytes, path or url is right")


def _encoded(data: bytes, reading: Reading) -> tuple[Kind, Any]:
    name = "bytes of a medium"
    try:
        return "images", decode_image(data, name)
    except DataError as no_picture:
        if reading.rate is None and not data.startswith((b"RIFF", b"fLaC", b"OggS", b"ID3")):
            raise
        try:
            return "audio", reading.heard(decode_audio(data, name, reading.hearing()), name)
        except DataError as error:
            raise DataError(f"{name}: neither a picture nor a sound that can be read ({no_picture})") from error


def _wave(array: Any, own: int | None, reading: Reading, name: str) -> NDArray[np.float32]:
    return reading.heard(resampled(array, own, reading.hearing(), name), name)


def _frames(values: Sequence[Any], name: str) -> NDArray[np.uint8]:
    """A list of pictures or arrays (H, W, 3) as one array."""
    return stacked(
        (np.asarray(as_rgb(v, name)) if hasattr(v, "getbands") else as_bytes(np.asarray(v), name) for v in values), name
    )


def _channels_last(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.shape[-1] == 3:
        return array
    if array.shape[1] == 3:
        return array.transpose(0, 2, 3, 1)
    raise DataError(f"{name}: an array of shape {array.shape}; frames of three channels are expected")
