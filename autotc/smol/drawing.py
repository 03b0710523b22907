"""Drawing for `smol-vl`: shapes, textures, photographs and printed words on square canvases."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autotc.smol.vocabulary import SHAPES

SIZE = 192
"""Pixels of a picture's side."""
RGB = np.array(
    [
        [225, 40, 40],
        [250, 140, 20],
        [250, 225, 40],
        [40, 170, 60],
        [40, 215, 225],
        [45, 70, 230],
        [150, 50, 190],
        [252, 252, 252],
    ],
    dtype=np.float32,
)
"""Each of COLORS."""
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono", "STIXGeneral")
"""Fonts that matplotlib ships."""
TRAINING_SHARE = 0.6
"""Of each photograph's width: crops for training lie on its left, those of all other splits on its right."""

Floats = NDArray[np.float32]
Part = Literal["training", "benchmark"]
_TURNS = 7
_FINER = 4
"""Pixels of a drawn shape's side for one of the picture."""


def _star() -> list[tuple[float, float]]:
    radii = (1.0, 0.42)
    return [(radii[i % 2] * math.sin(i * math.pi / 5), -radii[i % 2] * math.cos(i * math.pi / 5)) for i in range(10)]


def _heart() -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 60)
    x = 16 * np.sin(angles) ** 3
    y = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles))
    return [(float(a) / 17, float(b) / 17) for a, b in zip(x, y, strict=True)]


def _round(radius: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 48)
    return [(radius * float(math.sin(a)), radius * float(math.cos(a))) for a in angles]


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _round(0.95),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
    "star": _star(),
    "cross": [
        (-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33),
        (0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33),
    ],
    "heart": _heart(),
    "ring": _round(0.98),
    "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)],
}  # fmt: skip
"""Corners (x, y) of each of SHAPES in a square from -1 to 1."""


@lru_cache(maxsize=20_000)
def shape_mask(shape: int, size: int, turn: int) -> Floats:
    """How much of each pixel a shape covers, (size, size).

    Args:
        shape: index into SHAPES.
        size: its side in pixels.
        turn: 0 to 6, from 15 degrees to the left to 15 to the right.
    """
    from PIL import Image, ImageDraw

    side = size * _FINER
    picture = Image.new("L", (side, side))
    draw = ImageDraw.Draw(picture)
    angle = math.radians(-15 + 30 * turn / (_TURNS - 1))
    c, s = math.cos(angle) * 0.92, math.sin(angle) * 0.92

    def placed(points: list[tuple[float, float]], scale: float) -> list[tuple[float, float]]:
        half = side / 2
        return [(half + scale * half * (c * x - s * y), half + scale * half * (s * x + c * y)) for x, y in points]

    draw.polygon(placed(_OUTLINES[SHAPES[shape]], 1.0), fill=255)
    if SHAPES[shape] == "ring":
        draw.polygon(placed(_OUTLINES["ring"], 0.55), fill=0)
    small = picture.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


@cache
def _fonts_folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=20_000)
def word_mask(word: str, font: int, size: int) -> Floats:
    """How much of each pixel a printed word covers, with a margin of 3 pixels, (height, width).

    Args:
        word: to print.
        font: index into FONTS.
        size: of the font in pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    loaded = ImageFont.truetype(_fonts_folder() / f"{FONTS[font]}.ttf", size)
    left, top, right, bottom = (round(edge) for edge in loaded.getbbox(word))
    picture = Image.new("L", (right - left + 6, bottom - top + 6))
    ImageDraw.Draw(picture).text((3 - left, 3 - top), word, fill=255, font=loaded)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def blend(canvas: Floats, mask: Floats, color: Floats, top: int, left: int) -> None:
    """Paint through a mask (h, w) that lies within the canvas (H, W, 3)."""
    area = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    area += mask[..., None] * (color - area)


@cache
def _noise_bank() -> Floats:
    return np.random.default_rng(3).standard_normal(1 << 20, dtype=np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Seeded normal deviates, a slice of a bank at a random place, which is much faster than drawing them."""
    size = math.prod(shape)
    start = int(rng.integers((1 << 20) - size))
    return _noise_bank()[start : start + size].reshape(shape)


@cache
def _photographs(part: Part) -> list[Floats]:
    """The photographs that scikit-learn ships, one part of the width of each."""
    from sklearn.datasets import load_sample_images

    out = []
    for picture in load_sample_images().images:
        edge = int(TRAINING_SHARE * picture.shape[1])
        half = picture[:, :edge] if part == "training" else picture[:, edge:]
        out.append(half.astype(np.float32))
    return out


_AXIS = np.arange(SIZE, dtype=np.float32)


def _waves(rng: np.random.Generator, period: float, bend: float) -> NDArray[np.bool_]:
    """Stripes at any angle, bent by a sine."""
    angle = rng.uniform(0, np.pi)
    along, across = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    v = _AXIS[:, None] * along + _AXIS[None] * across
    if bend:
        u = _AXIS[None] * along - _AXIS[:, None] * across
        v = v + bend * np.sin(u * np.float32(2 * np.pi / (3 * period)))
    return (v + rng.uniform(0, period)) % period < period / 2


def _squares(rng: np.random.Generator, period: float) -> tuple[Floats, Floats]:
    """Rows and columns of the picture in periods, from a random place."""
    y, x = rng.uniform(0, 1, 2).astype(np.float32)
    return _AXIS[:, None] / np.float32(period) + y, _AXIS[None] / np.float32(period) + x


def _pattern(rng: np.random.Generator, texture: str) -> NDArray[np.generic]:
    """How much of the second tone each pixel has, (192, 192)."""
    period = rng.uniform(14, 26)
    if texture in ("stripes", "waves"):
        return _waves(rng, period, bend=0.35 * period if texture == "waves" else 0.0)
    if texture == "clouds":
        from PIL import Image

        coarse = Image.fromarray(rng.uniform(0, 1, (7, 7)).astype(np.float32))
        smooth = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        return np.clip(1.6 * smooth - 0.3, 0, 1)
    row, column = _squares(rng, period)
    if texture == "checks":
        return np.asarray((row.astype(np.int32) + column.astype(np.int32)) % 2 == 0)
    if texture == "dots":
        return (row % 1 - 0.5) ** 2 + (column % 1 - 0.5) ** 2 < 0.1
    line, column = row * 1.6, column * 0.8 + 0.5 * ((row * 1.6).astype(np.int32) % 2)
    return (line % 1 < 0.16) | (column % 1 < 0.09)


def background(rng: np.random.Generator, texture: str, part: Part) -> Floats:
    """A picture (192, 192, 3) of one texture in two muted tones, or of a faded part of a photograph."""
    if texture == "photo":
        photographs = _photographs(part)
        photograph = photographs[int(rng.integers(len(photographs)))]
        side = min(int(rng.uniform(120, 255)), *photograph.shape[:2])
        top, left = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
        places = (np.arange(SIZE) * side) // SIZE
        crop = photograph[top + places[:, None], left + places[None]]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        grey = crop.mean(2, keepdims=True)
        return np.asarray(35 + 0.55 * (grey + 0.4 * (crop - grey)), dtype=np.float32)
    first = rng.uniform(60, 150) + rng.normal(0, 9, 3)
    second = first + rng.choice([-1, 1]) * rng.uniform(22, 45) + rng.normal(0, 6, 3)
    mixed = _pattern(rng, texture).astype(np.float32)[..., None]
    return np.asarray(first + mixed * (second - first), dtype=np.float32)
