"""What each of two stages dropped of a sample, drawn over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autotc.report.figures.canvas import new_canvas, save_png

_SPECTRUM = (400, 160)
"""Window and step of an audio sample's spectrum, in samples."""
_MERGED = "#2ca02c"
_STAGE_COLORS: dict[int, str] = {1: "#d62728", 2: "#1f4fd6"}
_COLUMNS = 6
"""Pictures of a video in one line."""


@dataclass(frozen=True)
class TokenOutcome:
    """What became of one token of a sample.

    Attributes:
        box: (t0, t1, y0, y1, x0, x1), shares of the item's extent.
        dropped_by: 0 where it is left, 1 or 2 where the first or second stage dropped it.
        merged: whether it shares its survivor with others.
    """

    box: tuple[float, ...]
    dropped_by: Literal[0, 1, 2]
    merged: bool


def dropped_png(
    title: str, names: tuple[str, str], media: NDArray[Any], outcomes: Sequence[TokenOutcome], path: str | Path
) -> Path:
    """Draw a sample and what each of two stages dropped of it; returns the figure's path.

    Args:
        title: of the figure.
        names: of the stages.
        media: an image (H, W, 3), a video (T, H, W, 3) of uint8, or sound (samples,).
        outcomes: of its tokens; a video shows one picture for each span of time that a token has.
        path: to write.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    media = np.asarray(media)
    video, sound = media.ndim == 4, media.ndim == 1
    spans = sorted({outcome.box[:2] for outcome in outcomes}) if video else [(0.0, 1.0)]
    canvas, pairs, unused = _layout(len(spans), sound)
    for (bare, drawn), span in zip(pairs, spans, strict=True):
        _draw_media(bare, media, span)
        _draw_media(drawn, media, span)
        for outcome in outcomes:
            if not video or outcome.box[:2] == span:
                _draw_outcome(drawn, outcome, sound)
    for axes in unused:
        axes.set_axis_off()
    from matplotlib.patches import Patch

    marks = [Patch(facecolor=_STAGE_COLORS[i], alpha=0.62, label=f"dropped by {names[i - 1]}") for i in (1, 2)]
    marks += [Patch(facecolor="none", edgecolor=_MERGED, hatch="///", label="left, merged with others")]
    marks += [Patch(facecolor="none", edgecolor="#888888", label="left")]
    canvas.legend(handles=marks, loc="outside lower left", frameon=False, fontsize=8, ncols=2)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)
    return save_png(canvas, path)


def _layout(spans: int, sound: bool) -> tuple[Any, list[tuple[Any, Any]], list[Any]]:
    """The canvas, a pair of axes for each span (bare, with what was dropped), and axes that stay empty."""
    columns = min(spans, _COLUMNS)
    if sound:
        canvas = new_canvas(9, 3.4)
        return canvas, [tuple(canvas.subplots(2, 1))], []
    if columns == 1:
        canvas = new_canvas(8.6, 4.9)
        return canvas, [tuple(canvas.subplots(1, 2))], []
    lines = math.ceil(spans / columns)
    canvas = new_canvas(2.2 * max(columns, 4) + 0.4, 2 * 2.3 * lines + 1.3)
    grid = canvas.subplots(2 * lines, columns, squeeze=False)
    pairs = [(grid[2 * line][column], grid[2 * line + 1][column]) for line in range(lines) for column in range(columns)]
    return canvas, pairs[:spans], [axes for pair in pairs[spans:] for axes in pair]


def _draw_outcome(axes: Any, outcome: TokenOutcome, sound: bool) -> None:
    """Fill a token that was dropped, hatch one that was merged."""
    from matplotlib.patches import Rectangle

    t0, t1, y0, y1, x0, x1 = outcome.box
    corner, width, height = ((t0, 0.0), t1 - t0, 1.0) if sound else ((x0, y0), x1 - x0, y1 - y0)
    if outcome.dropped_by:
        color = _STAGE_COLORS[outcome.dropped_by]
        axes.add_patch(Rectangle(corner, width, height, facecolor=color, alpha=0.62, edgecolor="white", linewidth=0.3))
    elif outcome.merged:
        axes.add_patch(Rectangle(corner, width, height, facecolor="none", edgecolor=_MERGED, hatch="///", linewidth=0))


def _draw_media(axes: Any, media: NDArray[Any], span: tuple[float, ...]) -> None:
    """The sample, or of a video the first frame of a span, over the unit square."""
    if media.ndim == 1:
        axes.imshow(_spectrum(media), extent=(0, 1, 0, 1), aspect="auto", cmap="Greys", origin="lower")
    else:
        frame = media if media.ndim == 3 else media[min(len(media) - 1, int(span[0] * len(media) + 1e-6))]
        axes.imshow(frame, extent=(0, 1, 1, 0))
    axes.set_xticks([])
    axes.set_yticks([])


def _spectrum(sound: NDArray[Any]) -> NDArray[np.float64]:
    """Log power (frequencies, windows) of sound (samples,)."""
    window, step = _SPECTRUM
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(sound, float), window)[::step] * np.hanning(window)
    out: NDArray[np.float64] = np.log10(np.abs(np.fft.rfft(frames, axis=1)).T ** 2 + 1e-4)
    return out
