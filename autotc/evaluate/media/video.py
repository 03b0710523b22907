"""Video: from folders of frames, arrays and animations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError
from autotc.evaluate.media.pictures import load_image, open_picture

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_FORMS = "a folder of frames, a .npy array (T, H, W, 3) of uint8 or an animated .gif"


@dataclass(frozen=True)
class Clip:
    """A decoded video.

    Attributes:
        frames: (T, H, W, 3) uint8.
        fps: frames a second; None where the form does not say (a folder, an array).
    """

    frames: NDArray[np.uint8]
    fps: float | None = None


def load_video(path: str | Path) -> Clip:
    """A video: a folder of frames (in order of name), a .npy array (T, H, W, 3) of uint8, or an animated GIF.

    Raises:
        DataError: it cannot be read, or its frames differ in size.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in FRAME_SUFFIXES), key=_natural)
        if not files:
            raise DataError(f"{path}: holds no frames; pictures ({', '.join(FRAME_SUFFIXES)}) are expected")
        return Clip(_stack([np.asarray(load_image(file)) for file in files], path))
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: is not an array ({error}); a (T, H, W, 3) array of uint8 is expected") from error
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
            raise DataError(f"{path}: holds {array.dtype} of shape {array.shape}; (T, H, W, 3) of uint8 is expected")
        return Clip(array)
    if path.suffix.lower() != ".gif":
        raise DataError(f"{path}: cannot be decoded; supported are {VIDEO_FORMS}")
    from PIL import ImageSequence

    frames, milliseconds = [], 0.0
    with open_picture(path) as image:
        for frame in ImageSequence.Iterator(image):
            milliseconds += float(frame.info.get("duration", 0))
            frames.append(np.asarray(frame.convert("RGB")))
    return Clip(_stack(frames, path), 1000 * len(frames) / milliseconds if milliseconds else None)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts ``frame2`` before ``frame10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _stack(frames: list[NDArray[np.uint8]], path: Path) -> NDArray[np.uint8]:
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise DataError(f"{path}: frames differ in size ({sorted(sizes)}); frames of one size are expected")
    return np.stack(frames)
