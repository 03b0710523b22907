"""Scenes of `tiny-omni`: handwritten and spoken digits composed into images, videos and audio clips.

A *scene* knows what it shows, draws itself, labels every output unit of the tower (what a dense loss needs) and asks
questions about itself. Sources are real: the UCI handwritten digits that scikit-learn ships, and the spoken digits
beside this file. Splits share no source: no digit image, no voice.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autotc.tiny.config import COLORS, FRAME_SIZE, FRAMES, IMAGE_SIZE, MOTIONS, RATE, SECONDS

Split = Literal["train", "search", "val", "test"]
SHARES: dict[Split, float] = {"train": 0.55, "search": 0.15, "val": 0.1, "test": 0.2}
UNIT = 16
"""Pixels of an output unit's side: 2 x 2 patches of 8 pixels."""
AUDIO_UNIT = 0.04
"""Seconds of audio per output unit."""
RGB = np.array(
    [[235, 60, 50], [50, 200, 70], [70, 100, 245], [235, 215, 50], [225, 70, 215], [60, 215, 225]], dtype=np.float32
)
ORDINAL_WORDS = ("first", "second", "third", "fourth")
STEPS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], dtype=np.float64)
"""Direction (y, x) of each of MOTIONS."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Question:
    """One question about a scene: task name, query words, answer words."""

    task: str
    query: str
    answer: str


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


def _split_of(order: int, total: int) -> Split:
    edge = 0.0
    for split, share in SHARES.items():
        edge += share
        if order < round(edge * total):
            return split
    return "test"


@cache
def load_sources(split: Split) -> Sources:
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


@dataclass(frozen=True)
class Glyph:
    """One handwritten digit: class, colour index, centre (y, x), side and turn; in videos when and where it moves."""

    digit: int
    color: int
    y: float
    x: float
    size: float
    angle: float
    source: int
    start: int = 0
    stop: int = 1
    motion: int = 0
    speed: float = 0.0

    def centre(self, frame: int) -> tuple[float, float]:
        """Centre (y, x) in pixels at a frame of the video."""
        step = STEPS[self.motion] * self.speed * (frame - 2 * self.start)
        return self.y + float(step[0]), self.x + float(step[1])


def _stamp(canvas: Floats, image: Floats, glyph: Glyph, y: float, x: float) -> None:
    """Blend one glyph over the canvas (H, W, 3), bilinear, rotated about its centre."""
    half = int(np.ceil(glyph.size * 0.72))
    top, left = int(y) - half, int(x) - half
    ys = np.arange(max(top, 0), min(top + 2 * half + 1, canvas.shape[0]))
    xs = np.arange(max(left, 0), min(left + 2 * half + 1, canvas.shape[1]))
    if not len(ys) or not len(xs):
        return
    dy, dx = np.meshgrid(ys + 0.5 - y, xs + 0.5 - x, indexing="ij")
    c, s = np.cos(glyph.angle), np.sin(glyph.angle)
    v = (c * dy + s * dx) * 8 / glyph.size + 4.5
    u = (-s * dy + c * dx) * 8 / glyph.size + 4.5
    padded = np.zeros((11, 11), dtype=np.float32)
    padded[1:9, 1:9] = image
    v, u = np.clip(v, 0, 9.99), np.clip(u, 0, 9.99)
    v0, u0 = v.astype(int), u.astype(int)
    fv, fu = v - v0, u - u0
    alpha = (
        padded[v0, u0] * (1 - fv) * (1 - fu)
        + padded[v0, u0 + 1] * (1 - fv) * fu
        + padded[v0 + 1, u0] * fv * (1 - fu)
        + padded[v0 + 1, u0 + 1] * fv * fu
    )
    alpha = np.clip(alpha * 1.2, 0, 1)[..., None].astype(np.float32)
    area = canvas[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    area += alpha * (RGB[glyph.color] - area)


@cache
def _noise_bank() -> Floats:
    """A million seeded normal deviates; scenes take slices of it, which is much faster than drawing them."""
    return np.random.default_rng(3).standard_normal(1 << 20, dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal deviates of the given shape, a slice of the bank at a random place."""
    size = int(np.prod(shape))
    start = int(rng.integers((1 << 20) - size))
    return _noise_bank()[start : start + size].reshape(shape)


def _background(rng: np.random.Generator, size: int, strokes: int) -> Floats:
    """Cluttered grey background (size, size, 3): smooth shading, tinted blotches, thin strokes."""
    blotches = np.repeat(np.repeat(14 * _noise(rng, (size // 16, size // 16, 3)), 16, 0), 16, 1)
    canvas = np.roll(blotches, rng.integers(16, size=2), (0, 1)) + np.float32(rng.uniform(60, 110))
    starts, angles = rng.uniform(0, size, (2, strokes, 1)), rng.uniform(0, 2 * np.pi, (strokes, 1))
    along = np.minimum(np.arange(0, 20, 0.7)[None], rng.uniform(6, 20, (strokes, 1)))
    ys = np.clip(starts[0] + along * np.sin(angles), 0, size - 1).astype(int)
    xs = np.clip(starts[1] + along * np.cos(angles), 0, size - 1).astype(int)
    canvas[ys, xs] = rng.uniform(30, 190, (strokes, 1, 1))
    return canvas


def _near(position: float) -> Ints:
    """Indices of the units whose centre lies within 0.62 units of a position given in units: one or two."""
    return np.flatnonzero(np.abs(np.arange(8) + 0.5 - position) <= 0.62)


class Scene(ABC):
    """What all scenes share; units are labelled with (digit + 1, colour + 1, motion + 1, loud, ordinal), 0 for none."""

    modality: str
    grid: tuple[int, int, int]

    @abstractmethod
    def labels(self) -> Ints:
        """Labels of every output unit, (units, 5) in the tower's output order."""

    @abstractmethod
    def questions(self) -> list[Question]:
        """All questions that have one right answer."""


class ImageScene(Scene):
    """1 to 4 handwritten digits in different colours over clutter, 128 x 128 pixels; kept in reading order."""

    modality = "image"

    def __init__(
        self,
        rng: np.random.Generator,
        sources: Sources,
        *,
        counts: tuple[int, ...] = (1, 2, 3, 4),
    ) -> None:
        self.size = IMAGE_SIZE
        self.grid = (1, self.size // UNIT, self.size // UNIT)
        n = int(rng.choice(counts))
        colors = rng.permutation(len(COLORS))[:n]
        digits = rng.permutation(10)[:n] if rng.random() < 0.5 else rng.integers(0, 10, n)
        self.glyphs: list[Glyph] = []
        tries = 0
        while len(self.glyphs) < n:
            tries += 1
            size = rng.uniform(26, 36)
            y, x = rng.uniform(size / 2, self.size - size / 2, 2)
            crowded = any(max(abs(y - g.y), abs(x - g.x)) < (size + g.size) / 2 for g in self.glyphs)
            if crowded and tries < 500:
                continue
            k = len(self.glyphs)
            source = int(rng.integers(len(sources.images[digits[k]])))
            angle = rng.normal(0, 0.12)
            self.glyphs.append(Glyph(int(digits[k]), int(colors[k]), y, x, size, angle, source))
        self.glyphs.sort(key=lambda g: (_near(g.y / UNIT)[0], _near(g.x / UNIT)[0]))
        self._sources = sources
        self._seed = int(rng.integers(2**31))

    def render(self) -> Bytes:
        """The picture, (128, 128, 3) uint8."""
        rng = np.random.default_rng(self._seed)
        canvas = _background(rng, self.size, 24)
        for glyph in self.glyphs:
            _stamp(canvas, self._sources.images[glyph.digit][glyph.source], glyph, glyph.y, glyph.x)
        canvas += 5 * _noise(rng, canvas.shape)
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def labels(self) -> Ints:
        out = np.zeros((*self.grid[1:], 5), dtype=np.int64)
        for order, glyph in enumerate(self.glyphs):
            rows, cols = _near(glyph.y / UNIT), _near(glyph.x / UNIT)
            out[np.ix_(rows, cols)] = (glyph.digit + 1, glyph.color + 1, 0, 0, min(order + 1, 5))
        return out.reshape(-1, 5)

    def questions(self) -> list[Question]:
        out = [
            Question("count", "count digits", str(len(self.glyphs))),
            Question("order", "digit last", str(self.glyphs[-1].digit)),
        ]
        for i, g in enumerate(self.glyphs):
            out.append(Question("detail", f"digit {COLORS[g.color]}", str(g.digit)))
            if i < len(ORDINAL_WORDS):
                out.append(Question("order", f"digit {ORDINAL_WORDS[i]}", str(g.digit)))
        return out


class VideoScene(Scene):
    """1 to 3 digits in different colours that appear one after another and move, 12 frames of 64 x 64 pixels."""

    modality = "video"

    def __init__(self, rng: np.random.Generator, sources: Sources, *, counts: tuple[int, ...] = (1, 2, 3)) -> None:
        self.size = FRAME_SIZE
        self.grid = (FRAMES // 2, self.size // UNIT, self.size // UNIT)
        units = self.grid[0]
        n = int(rng.choice(counts))
        starts = np.sort(rng.permutation(units)[:n])
        colors = rng.permutation(len(COLORS))[:n]
        self.glyphs: list[Glyph] = []
        tries = 0
        while len(self.glyphs) < n:
            k = len(self.glyphs)
            size = rng.uniform(22, 28)
            start = int(starts[k])
            stop = min(units, start + int(rng.integers(1, 4)))
            motion, speed = int(rng.integers(4)), rng.uniform(1.5, 2.5)
            digit = int(rng.integers(10))
            travel = STEPS[motion] * speed * (2 * (stop - start) - 1)
            low = size * 0.42 + np.maximum(-travel, 0)
            high = self.size - size * 0.42 - np.maximum(travel, 0)
            y, x = rng.uniform(np.minimum(low, high), np.maximum(low, high))
            source = int(rng.integers(len(sources.images[digit])))
            glyph = Glyph(
                digit, int(colors[k]), y, x, size, rng.normal(0, 0.1), source, start, stop, motion, speed
            )  # fmt: skip
            tries += 1
            if tries < 60 and any(self._touch(glyph, other) for other in self.glyphs):
                continue
            self.glyphs.append(glyph)
        self._sources = sources
        self._seed = int(rng.integers(2**31))

    @staticmethod
    def _touch(a: Glyph, b: Glyph) -> bool:
        for frame in range(2 * max(a.start, b.start), 2 * min(a.stop, b.stop)):
            (ay, ax), (by, bx) = a.centre(frame), b.centre(frame)
            if max(abs(ay - by), abs(ax - bx)) < 0.45 * (a.size + b.size):
                return True
        return False

    def render(self) -> Bytes:
        """The frames, (12, 64, 64, 3) uint8."""
        rng = np.random.default_rng(self._seed)
        still = _background(rng, self.size, 8)
        frames = np.repeat(still[None], FRAMES, 0)
        for glyph in self.glyphs:
            for frame in range(2 * glyph.start, 2 * glyph.stop):
                y, x = glyph.centre(frame)
                _stamp(frames[frame], self._sources.images[glyph.digit][glyph.source], glyph, y, x)
        frames += 5 * _noise(rng, frames.shape)
        return np.clip(frames, 0, 255).astype(np.uint8)

    def labels(self) -> Ints:
        out = np.zeros((*self.grid, 5), dtype=np.int64)
        for order, glyph in enumerate(self.glyphs):
            for unit in range(glyph.start, glyph.stop):
                (y0, x0), (y1, x1) = glyph.centre(2 * unit), glyph.centre(2 * unit + 1)
                rows, cols = _near((y0 + y1) / 2 / UNIT), _near((x0 + x1) / 2 / UNIT)
                rows, cols = rows[rows < self.grid[1]], cols[cols < self.grid[2]]
                out[unit][np.ix_(rows, cols)] = (glyph.digit + 1, glyph.color + 1, glyph.motion + 1, 0, order + 1)
        return out.reshape(-1, 5)

    def questions(self) -> list[Question]:
        out = [Question("list", "list digits", " ".join(str(g.digit) for g in self.glyphs))]
        out.append(Question("order", "digit last", str(self.glyphs[-1].digit)))
        for i, g in enumerate(self.glyphs):
            out.append(Question("order", f"digit {ORDINAL_WORDS[i]}", str(g.digit)))
            out.append(Question("detail", f"digit {COLORS[g.color]}", str(g.digit)))
            out.append(Question("motion", f"moves {COLORS[g.color]}", MOTIONS[g.motion]))
        return out


class AudioScene(Scene):
    """2 to 5 spoken digits, one of them louder than the rest, over noise; 3 seconds."""

    modality = "audio"

    def __init__(self, rng: np.random.Generator, sources: Sources, *, counts: tuple[int, ...] = (2, 3, 4, 5)) -> None:
        self.grid = (int(SECONDS / AUDIO_UNIT), 1, 1)
        total = int(SECONDS * RATE)
        while True:
            n = int(rng.choice(counts))
            self.digits = [int(d) for d in rng.integers(0, 10, n)]
            picks = [int(rng.integers(len(sources.words[d]))) for d in self.digits]
            lengths = [len(sources.words[d][i]) for d, i in zip(self.digits, picks, strict=True)]
            spare = total - sum(lengths) - int(0.1 * RATE) * (n + 1)
            if spare > 0:
                break
        gaps = rng.dirichlet(np.full(n + 1, 2.0)) * spare + 0.1 * RATE
        self.words: list[tuple[int, int, int]] = []
        at = 0.0
        for gap, length, pick in zip(gaps[:-1], lengths, picks, strict=True):
            at += gap
            self.words.append((int(at), length, pick))
            at += length
        self.loud = int(rng.integers(n)) if n > 1 else -1
        self._sources = sources
        self._seed = int(rng.integers(2**31))

    def render(self) -> Floats:
        """The waveform, (48,000,) float32."""
        rng = np.random.default_rng(self._seed)
        total = int(SECONDS * RATE)
        noise = _noise(rng, (total,))
        hum = np.convolve(_noise(rng, (total,)), np.ones(16, np.float32) / 4, mode="same")
        out = rng.uniform(0.001, 0.006) * noise + rng.uniform(0.001, 0.006) * hum
        for i, (digit, (start, length, pick)) in enumerate(zip(self.digits, self.words, strict=True)):
            gain = rng.uniform(0.9, 1.1) * (1.0 if i == self.loud else 0.3)
            out[start : start + length] += gain * self._sources.words[digit][pick][: total - start]
        return np.clip(out, -1, 1).astype(np.float32)

    def labels(self) -> Ints:
        out = np.zeros((self.grid[0], 5), dtype=np.int64)
        centres = (np.arange(self.grid[0]) + 0.5) * AUDIO_UNIT
        for i, (digit, (start, length, _)) in enumerate(zip(self.digits, self.words, strict=True)):
            middle = (start + length / 2) / RATE
            out[np.abs(centres - middle) <= 0.75 * AUDIO_UNIT] = (digit + 1, 0, 0, int(i == self.loud), i + 1)
        return out

    def questions(self) -> list[Question]:
        out = [
            Question("count", "count words", str(len(self.digits))),
            Question("list", "list words", " ".join(map(str, self.digits))),
            Question("position", "word last", str(self.digits[-1])),
        ]
        if self.loud >= 0:
            out.append(Question("loud", "word loud", str(self.digits[self.loud])))
        for i, digit in enumerate(self.digits[:4]):
            out.append(Question("position", f"word {ORDINAL_WORDS[i]}", str(digit)))
        return out


class TalkingScene(Scene):
    """A picture of three different digits and a clip that says one digit, shown or not."""

    modality = "image+audio"

    def __init__(self, rng: np.random.Generator, sources: Sources) -> None:
        while True:
            self.image = ImageScene(rng, sources, counts=(2, 3, 4))
            if len({g.digit for g in self.image.glyphs}) == len(self.image.glyphs):
                break
        shown = [g.digit for g in self.image.glyphs]
        self.shown = bool(rng.random() < 0.5)
        wanted = shown if self.shown else [d for d in range(10) if d not in shown]
        said = int(rng.choice(wanted))
        while True:
            self.audio = AudioScene(rng, sources, counts=(1,))
            if self.audio.digits[0] == said:
                break

    def labels(self) -> Ints:
        return np.concatenate([self.image.labels(), self.audio.labels()])

    def questions(self) -> list[Question]:
        said = self.audio.digits[0]
        out = [Question("agree", "said shown", "yes" if self.shown else "no")]
        out += [Question("both", f"digit {COLORS[g.color]} said", f"{g.digit} {said}") for g in self.image.glyphs]
        if self.shown:
            color = next(g.color for g in self.image.glyphs if g.digit == said)
            out.append(Question("said_color", "color said", COLORS[color]))
        return out


class ChorusScene(TalkingScene):
    """A picture and a clip of several digits; asked about each of them apart. For training: it is dense in matches."""

    def __init__(self, rng: np.random.Generator, sources: Sources) -> None:
        while True:
            self.image = ImageScene(rng, sources, counts=(3, 4))
            if len({g.digit for g in self.image.glyphs}) == len(self.image.glyphs):
                break
        self.audio = AudioScene(rng, sources, counts=(4, 5))
        self.shown = False

    def questions(self) -> list[Question]:
        return [*self.image.questions(), *self.audio.questions()]


SCENES: dict[str, Callable[[np.random.Generator, Sources], Scene]] = {
    "image": ImageScene,
    "video": VideoScene,
    "audio": AudioScene,
    "image+audio": TalkingScene,
}
"""Scene of each modality; ``image+audio`` needs sight and sound together."""
