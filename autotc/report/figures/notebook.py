"""A front small enough to stand in a notebook, above its table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from autotc.report.figures.canvas import BUDGET_COLOR, draw_cost_axes, new_canvas
from autotc.statistics import Interval


@dataclass(frozen=True)
class Shown:
    """A policy of the front.

    Attributes:
        accuracy: mean over modality groups.
        flops_ratio: compressed over uncompressed prefill FLOPs.
        trial: its number.
        chosen: whether it is the exported one.
    """

    accuracy: float
    flops_ratio: float
    trial: int
    chosen: bool


def notebook_png(title: str, front: Sequence[Shown], uncompressed: float, split: str) -> bytes:
    """Draw a front, its policies by the numbers of their trials and the exported one marked; returns the PNG.

    Args:
        title: of the figure.
        front: its policies, cheapest first.
        uncompressed: accuracy of the uncompressed model, mean over modality groups.
        split: that the accuracies are of.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    canvas = new_canvas(5.6, 3.4)
    axes = canvas.subplots()
    ratios, accuracies = [row.flops_ratio for row in front], [row.accuracy for row in front]
    line = {"marker": "o", "markersize": 4, "linewidth": 1, "drawstyle": "steps-post"}
    axes.plot(ratios, accuracies, color="black", label="front", zorder=3, **line)
    exported = [row for row in front if row.chosen]
    axes.scatter(
        [row.flops_ratio for row in exported],
        [row.accuracy for row in exported],
        s=90,
        facecolors="none",
        edgecolors=BUDGET_COLOR,
        linewidths=2,
        label="exported",
        zorder=4,
    )
    for row in front:
        at = (row.flops_ratio, row.accuracy)
        axes.annotate(str(row.trial), at, xytext=(5, -11), textcoords="offset points", fontsize=8)
    draw_cost_axes(axes, title, Interval(uncompressed, uncompressed, uncompressed), split)
    axes.legend(loc="best", frameon=False, fontsize=8)
    picture = io.BytesIO()
    canvas.savefig(picture, dpi=100, format="png")
    return picture.getvalue()
