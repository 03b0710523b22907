"""Inline SVG: linear scales, axes and marks. Colours are classes, which a page's style sheet has in light and dark.

Every text goes through `markupsafe`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

GAP = 8


@dataclass(frozen=True)
class Scale:
    """A linear scale.

    Attributes:
        low, high: values at its ends.
        start, end: pixels there.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value, to a tenth."""
        span = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most so many and one."""
        span = self.high - self.low or 1.0
        raw = span / most
        power = 10 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Mark:
    """A point that tells more when it is hovered or focused.

    Attributes:
        x, y: values.
        shape: ``circle``, ``square``, ``triangle``, ``diamond``, ``cross`` or ``star``.
        classes: of the style sheet.
        lines: that it tells.
        ring: whether it is marked out.
    """

    x: float
    y: float
    shape: str
    classes: str
    lines: Sequence[str]
    ring: bool = False


_SHAPES = {
    "square": "M-4 -4H4V4H-4Z",
    "triangle": "M0 -5L5 4H-5Z",
    "diamond": "M0 -5.5L5.5 0L0 5.5L-5.5 0Z",
    "cross": "M-4 -4L4 4M-4 4L4 -4",
    "star": "M0 -8L2.2 -2.6L8 -2.3L3.5 1.3L5 7L0 3.8L-5 7L-3.5 1.3L-8 -2.3L-2.2 -2.6Z",
}


def svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    """A drawing that grows with its page; ``label`` says what it shows to who cannot see it."""
    classes = "figure wide" if width > 500 else "figure"
    head = Markup('<svg class="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">').format(
        classes, width, height, label
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def text(x: float, y: float, words: object, anchor: str = "middle", classes: str = "") -> Markup:
    """A line of text."""
    return Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, classes, words)


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, classes)


def path(points: Sequence[tuple[float, float]], classes: str, *, steps: bool = False) -> Markup:
    """A line through points in pixels; with steps it goes right before it goes up."""
    if not points:
        return Markup("")
    moves = [f"M{points[0][0]} {points[0][1]}"]
    for x, y in points[1:]:
        moves.append(f"H{x}V{y}" if steps else f"L{x} {y}")
    return Markup('<path d="{}" class="{}"/>').format("".join(moves), classes)


def axes(x: Scale, y: Scale, labels: tuple[str, str], digits: int = 2) -> list[Markup]:
    """Grid, ticks and names of two axes."""
    parts = []
    for value in x.ticks():
        parts.append(line(x(value), y.start, x(value), y.end, "grid"))
        parts.append(text(x(value), y.start + 18, f"{value:g}", classes="tick"))
    for value in y.ticks():
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(x.start - GAP, y(value) + 4, f"{value:.{digits}f}", "end", "tick"))
    parts.append(text((x.start + x.end) / 2, y.start + 38, labels[0], classes="name"))
    middle = (y.start + y.end) / 2
    parts.append(
        Markup('<text class="name" text-anchor="middle" transform="translate({} {}) rotate(-90)">{}</text>').format(
            14, middle, labels[1]
        )
    )
    return parts


def mark(point: Mark, x: Scale, y: Scale) -> Markup:
    """A point that can be hovered and focused."""
    shape = (
        Markup('<circle r="4.5"/>')
        if point.shape == "circle"
        else Markup('<path d="{}"/>').format(_SHAPES[point.shape])
    )
    ring = Markup('<circle r="10" class="ring"/>') if point.ring else Markup("")
    told = "\n".join(point.lines)
    return Markup(
        '<g class="mark {}" transform="translate({} {})" tabindex="0" role="img" aria-label="{}" data-tip="{}">{}{}</g>'
    ).format(point.classes, x(point.x), y(point.y), told, told, ring, shape)


def interval_bar(x: float, low: float, high: float, y: Scale, classes: str) -> Markup:
    """A vertical bar with caps over an interval, at ``x`` pixels."""
    top, bottom = y(high), y(low)
    caps = line(x - 4, top, x + 4, top, classes) + line(x - 4, bottom, x + 4, bottom, classes)
    return line(x, top, x, bottom, classes) + caps
