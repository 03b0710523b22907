"""What the beginning of a medium's file tells: whether it is one, and of a size that can be read."""

from __future__ import annotations

from pathlib import Path

from autotc.errors import missing_dependency
from autotc.evaluate.media.audio import WANTED as WANTED_SOUND
from autotc.evaluate.media.audio import check_riff, check_sound
from autotc.evaluate.media.decoding import decoded
from autotc.evaluate.media.pictures import WANTED as WANTED_PICTURE
from autotc.evaluate.media.pictures import open_picture, shown_name
from autotc.evaluate.media.video import VIDEO_FORMS, frame_files, mapped_array, open_video

_BEGINNING = 2**16
"""Bytes in which a WAV file is told apart and its length read."""


def check_picture(path: Path) -> None:
    """Refuse a file that does not begin as a picture, or is of more than `autotc.evaluate.media.pictures.MAX_PIXELS`.

    Raises:
        DataError: naming it.
    """
    name = shown_name(path)

    def read() -> None:
        with path.open("rb") as file, open_picture(file, name):
            return

    decoded(name, WANTED_PICTURE, read)


def check_audio(path: Path) -> None:
    """Refuse a file that does not begin as sound, is cut short, or holds nothing.

    Raises:
        DataError: naming it.
    """
    name = shown_name(path)

    def read() -> None:
        try:
            import soundfile
        except ImportError as error:
            raise missing_dependency(error) from error
        with path.open("rb") as file:
            check_riff(file.read(_BEGINNING), path.stat().st_size, name)
        with soundfile.SoundFile(str(path)) as sound:
            check_sound(int(sound.frames), int(sound.channels), int(sound.samplerate), name)

    decoded(name, WANTED_SOUND, read)


def check_video(path: Path) -> None:
    """Refuse what does not begin as a video: a folder without frames, an array of another shape, a damaged file.

    Raises:
        DataError: naming it.
    """
    name, ending = shown_name(path), path.suffix.lower()
    if path.is_dir():
        check_picture(frame_files(path, name)[0])
    elif ending == ".npy":
        decoded(name, "a (T, H, W, 3) array of uint8", lambda: mapped_array(path, name))
    elif ending == ".gif":
        check_picture(path)
    else:

        def read() -> None:
            with open_video(path, name):
                return

        decoded(name, VIDEO_FORMS, read)
