"""A heatmap of interactions between stages: rows act first, columns second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotc.report.figures.canvas import new_canvas, save_png
from autotc.vocabulary import LOCATIONS

_NOT_MEASURED = "#ececec"
_LIMIT = 15.0
"""Points of accuracy at which the colours end."""


@dataclass(frozen=True)
class HeatmapCell:
    """A pair of stages.

    Attributes:
        first, second: labels of its row and its column.
        points: interaction in points of accuracy.
        clear: whether its interval leaves out zero.
    """

    first: str
    second: str
    points: float
    clear: bool


def heatmap_png(title: str, panels: Mapping[str, Sequence[HeatmapCell]], path: str | Path) -> Path:
    """Draw interactions, a panel for each key; returns the figure's path.

    Red loses, blue gains; bold where the interval leaves out zero; grey was not measured.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    labels = {name: _labels(cells) for name, cells in panels.items()}
    widths = [max(3, len(columns)) for _, columns in labels.values()]
    height = max(3, *(len(rows) for rows, _ in labels.values()))
    canvas = new_canvas(1.2 + sum(0.62 * w + 2.4 for w in widths), 2.6 + 0.4 * height)
    grid = canvas.subplots(1, len(panels), squeeze=False, width_ratios=[w + 3 for w in widths])[0]
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale: Any = ScalarMappable(Normalize(-_LIMIT, _LIMIT), colormaps["RdBu"])
    for axes, (name, cells) in zip(grid, panels.items(), strict=True):
        _draw_panel(axes, name, cells, labels[name], scale)
    grid[0].set_ylabel("first stage", fontsize=9)
    bar = canvas.colorbar(scale, ax=list(grid), shrink=0.7, aspect=30, pad=0.01)
    bar.set_label("points against the better stage alone", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=11)
    return save_png(canvas, path)


def _draw_panel(
    axes: Any, name: str, cells: Sequence[HeatmapCell], labels: tuple[list[str], list[str]], scale: Any
) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = labels
    axes.set_facecolor(_NOT_MEASURED)
    for cell in cells:
        x, y = columns.index(cell.second), rows.index(cell.first)
        color = scale.to_rgba(cell.points)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=1))
        weight = "bold" if cell.clear else "normal"
        text_color = "white" if abs(cell.points) > 0.6 * _LIMIT else "black"
        axes.text(
            x, y, f"{cell.points:+.1f}", ha="center", va="center", fontsize=8, fontweight=weight, color=text_color
        )
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title(name, loc="left", fontsize=10)
    axes.set_xlabel("second stage", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _labels(cells: Sequence[HeatmapCell]) -> tuple[list[str], list[str]]:
    """Labels of rows and columns by depth, then by name."""
    rows, columns = {cell.first for cell in cells}, {cell.second for cell in cells}
    return sorted(rows, key=_depth), sorted(columns, key=_depth)


def _depth(label: str) -> tuple[int, str]:
    location = label.partition("@")[2].partition("[")[0]
    return next((depth for depth, name in enumerate(LOCATIONS) if name == location), 0), label
