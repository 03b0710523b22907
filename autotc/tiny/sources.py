"""What scenes of `tiny-omni` are made of: handwritten and spoken digits, divided so that splits share none.

Sources are real: the UCI handwritten digits that scikit-learn ships, and the spoken digits beside this file. No digit
image and no voice is in two splits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SourceSplit = Literal["train", "search", "val", "test"]
SHARES: dict[SourceSplit, float] = {"train": 0.55, "search": 0.15, "val": 0.1, "test": 0.2}
"""Share of the sources that each split gets; the model was trained on ``train``."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sources:
    """Digit images and spoken words of one split.

    Attributes:
        images: digit -> (n, 8, 8) float32 in [0, 1].
        words: digit -> list of float32 waveforms at 16 kHz.
        image_ids: digit -> index of each image in scikit-learn's data set.
        voices: names of the voices of this split.
    """

    images: list[Floats]
    words: list[list[Floats]]
    image_ids: list[Ints]
    voices: list[str]


def _split_of(order: int, total: int) -> SourceSplit:
    edge = 0.0
    for split, share in SHARES.items():
        edge += share
        if order < round(edge * total):
            return split
    return "test"


@cache
def load_sources(split: SourceSplit) -> Sources:
    """Digits and words of one split; the same assignment for everyone, drawn once with a fixed seed."""
    import soundfile
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(2507)
    images, image_ids = [], []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(digits.target == digit))
        chosen = np.array([m for i, m in enumerate(members) if _split_of(i, len(members)) == split], dtype=np.int64)
        images.append((digits.images[chosen] / 16.0).astype(np.float32))
        image_ids.append(chosen)
    folder = Path(__file__).parent / "speech"
    index = json.loads((folder / "index.json").read_text())
    names = [str(n) for n in rng.permutation(sorted(index))]
    voices = [n for i, n in enumerate(names) if _split_of(i, len(names)) == split]
    words: list[list[Floats]] = [[] for _ in range(10)]
    for name in voices:
        samples, _ = soundfile.read(folder / f"{name}.flac", dtype="float32")
        for digit, start, end in index[name]:
            words[digit].append(np.asarray(samples[start:end]))
    return Sources(images, words, image_ids, voices)
