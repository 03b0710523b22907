"""Canvases of PNG figures, and what all figures share: colours, marks, how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotc.errors import missing_dependency
from autotc.files import replacing
from autotc.statistics import Interval

COLORS = {
    "control": "#7f7f7f",
    "transformation": "#1f77b4",
    "similarity": "#2ca02c",
    "attention": "#d62728",
    "query": "#9467bd",
}
"""Colour of a mechanism family in every figure."""
LOCATION_COLORS = {"input": "#7f7f7f", "encoder": "#1f77b4", "projector": "#2ca02c", "decoder": "#d62728"}
"""Colour of a location in every figure."""
BUDGET_COLOR = "#e67e22"
FLOPS_LABEL = "FLOPs ratio (prefill, compressed / uncompressed)"


def new_canvas(width: float, height: float) -> Any:
    """A matplotlib figure of a size in inches, without a window.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_dependency(error) from error
    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def save_png(canvas: Any, path: str | Path, dpi: int = 130) -> Path:
    """Write a figure whole or not at all; returns its path.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as beside:
        canvas.savefig(beside, dpi=dpi, format="png")
    return Path(path)


def draw_cost_axes(axes: Any, title: str, uncompressed: Interval, split: str) -> None:
    """Axes of accuracy against FLOPs, with the uncompressed model's accuracy and its 95% interval at 1."""
    mean, low, high = uncompressed
    bars = [[mean - low], [high - mean]]
    axes.errorbar(
        [1.0], [mean], yerr=bars, fmt="*", color="black", markersize=11, capsize=4, label="uncompressed", zorder=4
    )
    axes.axhline(mean, color="black", linewidth=0.7, linestyle=":", zorder=1)
    axes.set(xlabel=FLOPS_LABEL, ylabel=f"accuracy ({split} split)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(left=0, right=1.05)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
