"""Drawing digits over clutter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from autotc.tiny.sources import Floats

RGB = np.array(
    [[235, 60, 50], [50, 200, 70], [70, 100, 245], [235, 215, 50], [225, 70, 215], [60, 215, 225]], dtype=np.float32
)
"""Each of COLORS."""
STEPS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], dtype=np.float64)
"""Direction (y, x) of each of MOTIONS."""


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


def stamp(canvas: Floats, image: Floats, glyph: Glyph, y: float, x: float) -> None:
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


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal deviates of the given shape, a slice of the bank at a random place."""
    size = int(np.prod(shape))
    start = int(rng.integers((1 << 20) - size))
    return _noise_bank()[start : start + size].reshape(shape)


def background(rng: np.random.Generator, size: int, strokes: int) -> Floats:
    """Cluttered grey background (size, size, 3): smooth shading, tinted blotches, thin strokes."""
    blotches = np.repeat(np.repeat(14 * noise(rng, (size // 16, size // 16, 3)), 16, 0), 16, 1)
    canvas = np.roll(blotches, rng.integers(16, size=2), (0, 1)) + np.float32(rng.uniform(60, 110))
    starts, angles = rng.uniform(0, size, (2, strokes, 1)), rng.uniform(0, 2 * np.pi, (strokes, 1))
    along = np.minimum(np.arange(0, 20, 0.7)[None], rng.uniform(6, 20, (strokes, 1)))
    ys = np.clip(starts[0] + along * np.sin(angles), 0, size - 1).astype(int)
    xs = np.clip(starts[1] + along * np.cos(angles), 0, size - 1).astype(int)
    canvas[ys, xs] = rng.uniform(30, 190, (strokes, 1, 1))
    return canvas
