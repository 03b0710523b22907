"""The Pareto front of a study as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.mechanisms import MECHANISMS
from autotc.pareto import pareto_front
from autotc.policy import Policy
from autotc.report.figures.canvas import BUDGET_COLOR, COLORS, draw_cost_axes, new_canvas, save_png
from autotc.statistics import Interval

_MARKERS = {"control": "x", "transformation": "o", "similarity": "s", "attention": "^", "query": "D"}


@dataclass(frozen=True)
class Point:
    """One feasible trial.

    Attributes:
        label: the policy in words.
        family: of its main mechanism, see `main_family`.
        accuracy: mean over modalities.
        flops_ratio: compressed over uncompressed prefill FLOPs.
        trial: its number; None for what is no trial.
    """

    label: str
    family: str
    accuracy: float
    flops_ratio: float
    trial: int | None = None


@dataclass(frozen=True)
class FrontFigure:
    """What the front figure shows.

    Attributes:
        title: of the figure.
        points: all feasible trials.
        uncompressed: accuracy of the uncompressed model with its 95% interval.
        budget: FLOPs ratio allowed.
        split: that the accuracies are of.
    """

    title: str
    points: Sequence[Point]
    uncompressed: Interval
    budget: float
    split: str = "search"

    def front(self) -> list[Point]:
        """Non-dominated points, cheapest first."""
        return pareto_front(self.points, cost=lambda p: p.flops_ratio, value=lambda p: p.accuracy)

    def line(self) -> tuple[list[float], list[float]]:
        """FLOPs ratios and accuracies of the front's line, drawn on to the budget."""
        front = self.front()
        ends = [max(self.budget, front[-1].flops_ratio)] if front else []
        return [p.flops_ratio for p in front] + ends, [p.accuracy for p in front] + [p.accuracy for p in front[-1:]]

    def families(self) -> list[tuple[str, list[Point]]]:
        """Points of each mechanism family that has any."""
        members = [(family, [p for p in self.points if p.family == family]) for family in COLORS]
        return [(family, points) for family, points in members if points]


def main_family(policy: Policy) -> str:
    """Family of the mechanisms that remove the largest share of the tokens, over all modalities."""
    removed: dict[str, float] = {}
    for modality in policy.modalities:
        left = 1.0
        for stage in policy.modality(modality):
            family = MECHANISMS[stage.mechanism].family
            removed[family] = removed.get(family, 0.0) + max(0.0, left - stage.final_ratio)
            left = min(left, stage.final_ratio)
    return max(sorted(removed), key=lambda name: removed[name]) if removed else "control"


def front_png(figure: FrontFigure, path: str | Path) -> Path:
    """Draw the front as PNG; returns its path.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    canvas = new_canvas(8, 5)
    axes = canvas.subplots()
    for family, points in figure.families():
        axes.scatter(
            [p.flops_ratio for p in points],
            [p.accuracy for p in points],
            s=34 if family == "control" else 26,
            marker=_MARKERS[family],
            c=COLORS[family],
            alpha=0.75,
            linewidths=1.4 if family == "control" else 0,
            label=family,
            zorder=3,
        )
    axes.step(*figure.line(), where="post", color="black", linewidth=1.4, label="front", zorder=2)
    draw_cost_axes(axes, figure.title, figure.uncompressed, figure.split)
    axes.axvline(figure.budget, color=BUDGET_COLOR, linewidth=1.1, linestyle="--", label="budget", zorder=1)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return save_png(canvas, path, dpi=140)
