"""Figures of interactions between stages: a heatmap of pairs, and what each stage of a stack dropped of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLANK = "#ececec"
_LIMIT = 15.0
"""Points of accuracy at which the colours of the heatmap end."""
_SPECTRUM = (400, 160)
"""Window and step of an audio sample's spectrum, in samples."""


@dataclass(frozen=True)
class Cell:
    """A pair of a heatmap.

    Attributes:
        first, second: labels of its row and its column.
        points: interaction in points of accuracy.
        clear: whether its interval leaves out zero.
    """

    first: str
    second: str
    points: float
    clear: bool


def heatmap_png(title: str, panels: Mapping[str, Sequence[Cell]], path: str | Path) -> Path:
    """Draw interactions, a panel for each key: rows act first, columns second; returns the figure's path.

    Red loses, blue gains; bold where the interval leaves out zero; grey was not measured.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    axes_of = {name: _axes(cells) for name, cells in panels.items()}
    widths = [max(3, len(columns)) for _, columns in axes_of.values()]
    height = max(3, *(len(rows) for rows, _ in axes_of.values()))
    size = (1.2 + sum(0.62 * w + 2.4 for w in widths), 2.6 + 0.4 * height)
    canvas = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(canvas)
    grid = canvas.subplots(1, len(panels), squeeze=False, width_ratios=[w + 3 for w in widths])[0]
    scale: Any = ScalarMappable(Normalize(-_LIMIT, _LIMIT), colormaps["RdBu"])
    for axes, (name, cells) in zip(grid, panels.items(), strict=True):
        rows, columns = axes_of[name]
        axes.set_facecolor(_BLANK)
        for cell in cells:
            x, y = columns.index(cell.second), rows.index(cell.first)
            colour = scale.to_rgba(cell.points)
            axes.add_patch(_patch((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
            dark = abs(cell.points) > 0.6 * _LIMIT
            axes.text(
                x, y, f"{cell.points:+.1f}", ha="center", va="center", fontsize=8,
                fontweight="bold" if cell.clear else "normal", color="white" if dark else "black",
            )  # fmt: skip
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("second stage", fontsize=9)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    grid[0].set_ylabel("first stage", fontsize=9)
    bar = canvas.colorbar(scale, ax=list(grid), shrink=0.7, aspect=30, pad=0.01)
    bar.set_label("points against the better stage alone", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=11)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=130)
    return path


def _axes(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Rows and columns by depth, then by name."""
    rows, columns = {cell.first for cell in cells}, {cell.second for cell in cells}
    return sorted(rows, key=_depth), sorted(columns, key=_depth)


def _depth(label: str) -> tuple[int, str]:
    location = label.partition("@")[2].partition("[")[0]
    places = ("input", "encoder", "projector", "decoder")
    return places.index(location) if location in places else 0, label


def _patch(at: tuple[float, float], width: float, height: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(at, width, height, **style)


@dataclass(frozen=True)
class Fate:
    """What became of one token of a sample.

    Attributes:
        box: (t0, t1, y0, y1, x0, x1), shares of the item's extent.
        by: 0 where it is left, 1 or 2 where the first or second stage dropped it.
        merged: whether it shares its survivor with others.
    """

    box: tuple[float, ...]
    by: int
    merged: bool


_COLOURS = {1: "#d62728", 2: "#1f4fd6"}


def dropped_png(
    title: str, names: tuple[str, str], media: NDArray[Any], fates: Sequence[Fate], path: str | Path
) -> Path:
    """Draw a sample and what each of two stages dropped of it; returns the figure's path.

    Args:
        title: of the figure.
        names: of the stages.
        media: an image (H, W, 3), a video (T, H, W, 3) of uint8, or sound (samples,).
        fates: of its tokens; a video shows one picture for each span of time that a token has.
        path: to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    media = np.asarray(media)
    spans = sorted({fate.box[:2] for fate in fates}) if media.ndim == 4 else [(0.0, 1.0)]
    columns = min(len(spans), 6)
    lines = math.ceil(len(spans) / columns)
    sound = media.ndim == 1
    canvas = Figure(figsize=(9, 3.4) if sound else (2.2 * max(columns, 4) + 0.4, 2 * 2.3 * lines + 1.3) if columns > 1
                    else (8.6, 4.9), layout="constrained")  # fmt: skip
    FigureCanvasAgg(canvas)
    shape = (2, 1) if sound else (2 * lines, columns) if columns > 1 else (1, 2)
    grid = canvas.subplots(*shape, squeeze=False)
    for number, span in enumerate(spans):
        if sound or columns == 1:
            bare, drawn = grid.ravel()[:2]
        else:
            line, column = divmod(number, columns)
            bare, drawn = grid[2 * line][column], grid[2 * line + 1][column]
        mine = [fate for fate in fates if media.ndim != 4 or fate.box[:2] == span]
        _show(bare, media, span)
        _show(drawn, media, span)
        for fate in mine:
            t0, t1, y0, y1, x0, x1 = fate.box
            at, width, height = ((t0, 0.0), t1 - t0, 1.0) if sound else ((x0, y0), x1 - x0, y1 - y0)
            if fate.by:
                colour = _COLOURS[fate.by]
                drawn.add_patch(
                    _patch(at, width, height, facecolor=colour, alpha=0.62, edgecolor="white", linewidth=0.3)
                )
            elif fate.merged:
                drawn.add_patch(
                    _patch(at, width, height, facecolor="none", edgecolor="#2ca02c", hatch="///", linewidth=0)
                )
    for axes in grid.ravel()[2 * len(spans) :] if not sound and columns > 1 else []:
        axes.set_axis_off()
    marks = [Patch(facecolor=_COLOURS[i], alpha=0.62, label=f"dropped by {names[i - 1]}") for i in (1, 2)]
    marks += [Patch(facecolor="none", edgecolor="#2ca02c", hatch="///", label="left, merged with others")]
    marks += [Patch(facecolor="none", edgecolor="#888888", label="left")]
    canvas.legend(handles=marks, loc="outside lower left", frameon=False, fontsize=8, ncols=2)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=10)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=130)
    return path


def _show(axes: Any, media: NDArray[Any], span: tuple[float, ...]) -> None:
    """The sample, or of a video the first frame of a span, over the unit square."""
    extent = (0, 1, 1, 0)
    if media.ndim == 1:
        axes.imshow(_spectrum(media), extent=(0, 1, 0, 1), aspect="auto", cmap="Greys", origin="lower")
    else:
        frame = media if media.ndim == 3 else media[min(len(media) - 1, int(span[0] * len(media) + 1e-6))]
        axes.imshow(frame, extent=extent)
    axes.set_xticks([])
    axes.set_yticks([])


def _spectrum(sound: NDArray[Any]) -> NDArray[np.float64]:
    """Log power over time and frequency."""
    window, step = _SPECTRUM
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(sound, float), window)[::step] * np.hanning(window)
    out: NDArray[np.float64] = np.log10(np.abs(np.fft.rfft(frames, axis=1)).T ** 2 + 1e-4)
    return out
