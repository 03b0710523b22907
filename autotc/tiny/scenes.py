"""Scenes of `tiny-omni`: handwritten and spoken digits composed into images, videos and audio clips.

A *scene* knows what it shows, draws itself, labels every output unit of the tower (what a dense loss needs) and asks
questions about itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autotc.tiny.config import COLORS, FRAME_SIZE, FRAMES, IMAGE_SIZE, MOTIONS, RATE, SECONDS
from autotc.tiny.drawing import STEPS, Glyph, background, noise, stamp
from autotc.tiny.sources import Bytes, Floats, Ints, Sources

UNIT = 16
"""Pixels of an output unit's side: 2 x 2 patches of 8 pixels."""
AUDIO_UNIT = 0.04
"""Seconds of audio per output unit."""
ORDINAL_WORDS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Question:
    """One question about a scene: task name, query words, answer words."""

    task: str
    query: str
    answer: str


def units_near(position: float) -> Ints:
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
        self.glyphs.sort(key=lambda g: (units_near(g.y / UNIT)[0], units_near(g.x / UNIT)[0]))
        self._sources = sources
        self._seed = int(rng.integers(2**31))

    def render(self) -> Bytes:
        """The picture, (128, 128, 3) uint8."""
        rng = np.random.default_rng(self._seed)
        canvas = background(rng, self.size, 24)
        for glyph in self.glyphs:
            stamp(canvas, self._sources.images[glyph.digit][glyph.source], glyph, glyph.y, glyph.x)
        canvas += 5 * noise(rng, canvas.shape)
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def labels(self) -> Ints:
        out = np.zeros((*self.grid[1:], 5), dtype=np.int64)
        for order, glyph in enumerate(self.glyphs):
            rows, cols = units_near(glyph.y / UNIT), units_near(glyph.x / UNIT)
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
            glyph = Glyph(digit, int(colors[k]), y, x, size, rng.normal(0, 0.1), source, start, stop, motion, speed)
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
        still = background(rng, self.size, 8)
        frames = np.repeat(still[None], FRAMES, 0)
        for glyph in self.glyphs:
            for frame in range(2 * glyph.start, 2 * glyph.stop):
                y, x = glyph.centre(frame)
                stamp(frames[frame], self._sources.images[glyph.digit][glyph.source], glyph, y, x)
        frames += 5 * noise(rng, frames.shape)
        return np.clip(frames, 0, 255).astype(np.uint8)

    def labels(self) -> Ints:
        out = np.zeros((*self.grid, 5), dtype=np.int64)
        for order, glyph in enumerate(self.glyphs):
            for unit in range(glyph.start, glyph.stop):
                (y0, x0), (y1, x1) = glyph.centre(2 * unit), glyph.centre(2 * unit + 1)
                rows, cols = units_near((y0 + y1) / 2 / UNIT), units_near((x0 + x1) / 2 / UNIT)
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
        hiss = noise(rng, (total,))
        hum = np.convolve(noise(rng, (total,)), np.ones(16, np.float32) / 4, mode="same")
        out = rng.uniform(0.001, 0.006) * hiss + rng.uniform(0.001, 0.006) * hum
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
