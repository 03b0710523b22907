"""Video as frames: from folders of pictures, arrays, animations and video files."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, missing_dependency
from autotc.evaluate.media.decoding import decoded
from autotc.evaluate.media.pictures import as_bytes, as_rgb, check_pixels, load_image, open_picture, shown_name
from autotc.files import read_bytes

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
FILE_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".ts")
"""Of video files, which PyAV decodes."""
VIDEO_FORMS = (
    "a folder of frames, a .npy array (T, H, W, 3) of uint8, an animated .gif or a video file (.mp4, .webm, ...)"
)
FILE_FRAMES = 32
"""That a video file is thinned to, where nothing else is asked for."""
VIDEO_BYTES = 2**33
"""Of the frames of a video, decoded."""


@dataclass(frozen=True)
class Clip:
    """A decoded video.

    Attributes:
        frames: (T, H, W, 3) uint8.
        fps: frames a second; None where the form does not say (a folder, an array).
    """

    frames: NDArray[np.uint8]
    fps: float | None = None


def load_video(path: str | Path, frames: int | None = None) -> Clip:
    """A video: a folder of frames (in order of name), a .npy array (T, H, W, 3), an animated GIF or a video file.

    Args:
        path: of it.
        frames: that a longer one is thinned to, evenly; None keeps all, of a video file at most `FILE_FRAMES`.

    Raises:
        DataError: it cannot be read, or its frames differ in size.
        MissingDependencyError: a video file, and PyAV is not installed.
    """
    path, name = Path(path), shown_name(path)
    if path.is_dir():
        files = frame_files(path, name)
        chosen = [files[i] for i in evenly(len(files), frames)]
        return Clip(stacked((np.asarray(load_image(file)) for file in chosen), name))
    ending = path.suffix.lower()
    if ending == ".npy":
        return Clip(thinned(_array(path, name), frames))
    if ending == ".gif":
        data = read_bytes(path, "an animated GIF", limit=VIDEO_BYTES)
        clip = decoded(name, "a whole animated GIF", lambda: _animation(data, name))
        return Clip(thinned(clip.frames, frames), clip.fps)
    if ending not in FILE_SUFFIXES:
        raise DataError(f"{name}: cannot be decoded; supported are {VIDEO_FORMS}")
    return load_video_file(path, FILE_FRAMES if frames is None else frames)


def evenly(total: int, count: int | None) -> list[int]:
    """Places of ``count`` of ``total`` things, the first and the last among them; all where there are no more."""
    if count is None or total <= count:
        return list(range(total))
    places: list[int] = np.linspace(0, total - 1, count).round().astype(int).tolist()
    return places


def thinned(frames: NDArray[Any], count: int | None) -> NDArray[Any]:
    """``count`` of the frames (T, ...), evenly; all where there are no more, or None is given."""
    return frames if count is None or len(frames) <= count else frames[evenly(len(frames), count)]


def stacked(frames: Iterable[NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    """Frames (H, W, 3) of one size as one array.

    Raises:
        DataError: there are none, they differ in size, or they are more than `VIDEO_BYTES`.
    """
    taken: list[NDArray[np.uint8]] = []
    size = 0
    for frame in frames:
        size += frame.nbytes
        if size > VIDEO_BYTES:
            raise DataError(
                f"{name}: its frames take more than {VIDEO_BYTES / 2**30:g} GiB; make it smaller or shorter"
            )
        taken.append(frame)
    shapes = sorted({frame.shape for frame in taken})
    if len(shapes) != 1:
        raise DataError(f"{name}: frames differ in size ({shapes[:3]}); frames of one size are expected")
    return np.stack(taken)


def frame_files(folder: Path, name: str) -> list[Path]:
    """Pictures of a folder in order of name, ``frame2`` before ``frame10``.

    Raises:
        DataError: there are none.
    """
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in FRAME_SUFFIXES), key=_natural)
    if not files:
        raise DataError(f"{name}: holds no frames; pictures ({', '.join(FRAME_SUFFIXES)}) are expected")
    return files


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts ``frame2`` before ``frame10``."""
    return [(0, int(part[:18]), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _array(path: Path, name: str) -> NDArray[np.uint8]:
    wanted = "a (T, H, W, 3) array of uint8"
    if not path.is_file():
        raise DataError(f"{name}: is no regular file; {wanted} is expected")

    def decode() -> NDArray[np.uint8]:
        return np.array(mapped_array(path, name))

    return decoded(name, wanted, decode)


def mapped_array(path: Path, name: str) -> NDArray[np.uint8]:
    """The frames (T, H, W, 3) of an array's file, not read yet.

    Mapped, a header that promises more than the file holds is refused before anything is taken for it.

    Raises:
        DataError: they are of another shape or dtype, or more than `VIDEO_BYTES`.
    """
    wanted = "a (T, H, W, 3) array of uint8"
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name}: holds several arrays; {wanted} is expected")
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
        raise DataError(f"{name}: holds {array.dtype} of shape {array.shape}; {wanted} is expected")
    if array.nbytes > VIDEO_BYTES:
        raise DataError(f"{name}: takes {array.nbytes:,} bytes; at most {VIDEO_BYTES:,} are read")
    return array


def _animation(data: bytes, name: str) -> Clip:
    from PIL import ImageSequence

    milliseconds: list[float] = []

    def frames() -> Iterable[NDArray[np.uint8]]:
        for frame in ImageSequence.Iterator(image):
            milliseconds.append(float(frame.info.get("duration", 0)))
            yield np.asarray(as_rgb(frame, name))

    with open_picture(io.BytesIO(data), name) as image:
        pixels = stacked(frames(), name)
    total = sum(milliseconds)
    return Clip(pixels, 1000 * len(pixels) / total if total else None)


def load_video_file(path: Path, frames: int) -> Clip:
    """Evenly spaced frames of a file that PyAV decodes; arguments and errors as of `load_video`."""
    name = shown_name(path)
    if not os.path.isfile(path):
        raise DataError(f"{name}: is no regular file; a video file is expected")
    return decoded(name, "a video that can be decoded (mp4, webm, mkv, avi, ...)", lambda: _decode(path, name, frames))


@contextmanager
def open_video(path: Path, name: str) -> Iterator[Any]:
    """A video file's container (PyAV), its header read.

    Raises:
        DataError: it holds no video, or one of more than `MAX_PIXELS`.
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise missing_dependency(error) from error
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise DataError(f"{name}: holds no video; supported are {VIDEO_FORMS}")
        check_pixels(container.streams.video[0].width, container.streams.video[0].height, name)
        yield container


def _decode(path: Path, name: str, frames: int) -> Clip:
    with open_video(path, name) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate) if stream.average_rate else None
        total = stream.frames
        if not total:
            total = sum(1 for _ in container.decode(video=0))
            container.seek(0)
        wanted = set(evenly(total, frames))
        read = 0

        def taken() -> Iterable[NDArray[np.uint8]]:
            nonlocal read
            for i, frame in enumerate(container.decode(video=0)):
                read = i + 1
                if i in wanted:
                    # Telephones store what they held upright on its side; the rotation is counter-clockwise.
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                    yield as_bytes(upright, name)

        pixels = stacked(taken(), name)
    if read < 0.9 * total:
        raise DataError(f"{name}: is cut short: {read} of {total} frames are there; a whole video file is expected")
    return Clip(pixels, None if fps is None else fps * len(pixels) / total)
