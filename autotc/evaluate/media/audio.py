"""Sound as mono at a processor's rate."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, missing_dependency
from autotc.evaluate.media.decoding import decoded
from autotc.evaluate.media.pictures import shown_name
from autotc.files import read_bytes

AUDIO_BYTES = 2**32
"""Of the largest file of sound."""
VALUES = 2**29
"""Most values of a clip, all channels: four hours of mono at 32 kHz, 2 GB."""
SHORTEST = 0.025
"""Seconds of the shortest clip: one window of the spectrograms that models hear."""
RATES = (1_000, 768_000)
"""Samples a second that are taken for true."""
WANTED = "a whole WAV, FLAC, OGG or MP3 file"


def load_audio(path: str | Path, rate: int) -> NDArray[np.float32]:
    """A clip as mono (n,) float32, resampled to ``rate`` samples a second.

    Raises:
        DataError: it cannot be read, is cut short, or holds no sound.
    """
    return decode_audio(read_bytes(path, WANTED, limit=AUDIO_BYTES), shown_name(path), rate)


def decode_audio(data: bytes, name: str, rate: int) -> NDArray[np.float32]:
    """The same from the bytes of a file; ``name`` is of the clip, for errors."""
    return decoded(name, WANTED, lambda: _decode(data, name, rate))


def _decode(data: bytes, name: str, rate: int) -> NDArray[np.float32]:
    try:
        import soundfile
    except ImportError as error:
        raise missing_dependency(error) from error
    check_riff(data, len(data), name)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        frames, channels, own = int(file.frames), int(file.channels), int(file.samplerate)
        check_sound(frames, channels, own, name)
        wave = file.read(dtype="float32", always_2d=True)
    if len(wave) < frames:
        raise DataError(f"{name}: is cut short: {len(wave) / own:.3f} of {frames / own:.3f} s are there")
    return resampled(wave.mean(axis=1), own, rate, name)


def check_sound(frames: int, channels: int, rate: int, name: str) -> None:
    """Refuse what a header says of a clip, where that cannot be or is too much.

    Args:
        frames: samples of each channel.
        channels: of the clip.
        rate: samples a second.
        name: of the clip, for errors.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{name}: {rate} samples a second; {RATES[0]:,} to {RATES[1]:,} are expected")
    if frames * channels > VALUES:
        raise DataError(f"{name}: {frames / rate:,.0f} s of {channels} channels; at most {VALUES:,} values are read")
    if frames < SHORTEST * rate:
        raise DataError(f"{name}: holds {frames / rate:.4f} s of sound; at least {SHORTEST:g} s are expected")


def check_riff(data: bytes, size_of_file: int, name: str) -> None:
    """Refuse a WAV file that ends before its data does; libsndfile would read what is left.

    Args:
        data: the file's beginning.
        size_of_file: its bytes.
        name: of the clip, for errors.
    """
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            # Streams are written with a size that is not known yet.
            if size not in (0, 0xFFFFFFFF) and at + 8 + size > size_of_file:
                raise DataError(
                    f"{name}: is cut short: {size_of_file - at - 8:,} of {size:,} bytes of sound are there; {WANTED} is"
                    " expected"
                )
            return
        at += 8 + size + size % 2


def resampled(values: Any, own: int | None, rate: int, name: str) -> NDArray[np.float32]:
    """A mono clip at another rate.

    Args:
        values: (n,) samples.
        own: of them a second; None where they are at ``rate`` already.
        rate: wanted.
        name: for errors.

    Raises:
        DataError: there are none, or some are not finite.
    """
    wave: NDArray[np.float32] = np.asarray(values, dtype=np.float32)
    if wave.ndim != 1 or not len(wave):
        raise DataError(f"{name}: holds no sound; at least one sample of one channel is expected")
    if not np.isfinite(wave).all():
        count = int((~np.isfinite(wave)).sum())
        raise DataError(f"{name}: {count:,} of {len(wave):,} samples are not finite; {WANTED} is expected")
    if own is not None and int(own) != rate:
        from scipy.signal import resample_poly

        factor = Fraction(rate, int(own))
        wave = resample_poly(wave, factor.numerator, factor.denominator)
    return wave.astype(np.float32)
