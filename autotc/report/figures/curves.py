"""Accuracy against cost of presets or places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.report.figures.canvas import COLORS, LOCATION_COLORS, draw_cost_axes, new_canvas, save_png
from autotc.statistics import Interval

_MARKERS = "osD^v<>pPX*hd8"
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """Accuracy against cost of one preset or one place.

    Attributes:
        name: in the legend.
        group: mechanism family or location, which gives the colour.
        points: (FLOPs ratio, accuracy), by rising cost.
    """

    name: str
    group: str
    points: Sequence[tuple[float, float]]


def curves_png(title: str, curves: Sequence[Curve], uncompressed: Interval, split: str, path: str | Path) -> Path:
    """Draw accuracy against FLOPs, a line for each curve, coloured by group; returns the figure's path.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    canvas = new_canvas(10, 6.2)
    axes = canvas.subplots()
    drawn: dict[str, int] = {}
    order = [*COLORS, *LOCATION_COLORS]
    for curve in sorted(curves, key=lambda c: (order.index(c.group), c.name)):
        number = drawn.get(curve.group, 0)
        drawn[curve.group] = number + 1
        # Families have many presets, which markers tell apart; places have few, which line styles do.
        style = number // len(_MARKERS) if curve.group in COLORS else number
        axes.plot(
            [x for x, _ in curve.points],
            [y for _, y in curve.points],
            color={**COLORS, **LOCATION_COLORS}[curve.group],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle=_STYLES[style % len(_STYLES)],
            markersize=5.5,
            linewidth=1.1,
            alpha=0.85,
            label=curve.name,
        )
    draw_cost_axes(axes, title, uncompressed, split)
    canvas.legend(loc="outside right upper", frameon=False, fontsize=8, ncols=2 if len(curves) > 24 else 1)
    return save_png(canvas, path)
