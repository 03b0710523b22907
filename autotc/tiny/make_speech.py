"""Make the spoken digits that ship with the package: ``python -m autotc.tiny.make_speech OUT``.

Needs the program ``espeak-ng``; the package itself only reads what this wrote. Each voice is an accent and a variant of
espeak-ng; each says the ten digits twice, at two speeds and pitches drawn from a seeded generator. One FLAC file per
voice (16 kHz, mono, words one after the other) and ``index.json`` with the words' offsets.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbcwmd", "en-029")
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "f1", "f2", "f3", "f4", "f5", "klatt", "linda")
RATE = 16_000
TAKES = 2


def say(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """One word as float32 samples in [-1, 1] at 16 kHz, silence at both ends removed, peak 0.5."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    samples = resample_poly(samples, RATE, rate).astype(np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return np.asarray(0.5 * samples / np.abs(samples).max(), dtype=np.float32)


def main(out: Path) -> None:
    """Write one FLAC file per voice and ``index.json`` to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    index: dict[str, list[list[int]]] = {}
    for accent in ACCENTS:
        for variant in VARIANTS:
            parts, places, at = [], [], 0
            for _take in range(TAKES):
                for digit, word in enumerate(WORDS):
                    speed, pitch = int(rng.integers(170, 260)), int(rng.integers(25, 75))
                    part = say(word, f"{accent}+{variant}", speed, pitch)
                    places.append([digit, at, at + len(part)])
                    parts.append(part)
                    at += len(part)
            name = f"{accent}+{variant}"
            soundfile.write(out / f"{name}.flac", np.concatenate(parts), RATE, subtype="PCM_16", compression_level=1.0)
            index[name] = places
    (out / "index.json").write_text(json.dumps(index, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
