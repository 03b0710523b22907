"""Sound: from files, as mono at a processor's rate."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, missing_dependency


def load_audio(path: str | Path, rate: int) -> NDArray[np.float32]:
    """A clip as mono (n,) float32, resampled to ``rate`` samples a second.

    Raises:
        DataError: it cannot be read or is empty.
    """
    try:
        import soundfile
    except ImportError as error:
        raise missing_dependency(error) from error
    try:
        wave, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: is not audio that can be read; WAV, FLAC, OGG or MP3 is expected") from error
    mono: NDArray[np.float32] = wave.mean(axis=1)
    if not len(mono):
        raise DataError(f"{path}: holds no sound; at least one sample is expected")
    if own != rate:
        from scipy.signal import resample_poly

        factor = Fraction(rate, int(own))
        mono = resample_poly(mono, factor.numerator, factor.denominator)
    return mono.astype(np.float32)
