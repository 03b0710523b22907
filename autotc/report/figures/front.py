"""The Pareto front of a study as PNG (matplotlib) and as interactive HTML (plotly)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import missing_dependency
from autotc.files import replacing
from autotc.mechanisms import MECHANISMS
from autotc.pareto import pareto_front
from autotc.policy import Policy
from autotc.report.figures.canvas import BUDGET_COLOR, COLORS, FLOPS_LABEL, draw_cost_axes, new_canvas, save_png
from autotc.statistics import Interval

_MARKERS = {"control": "x", "transformation": "o", "similarity": "s", "attention": "^", "query": "D"}
_SYMBOLS = {
    "control": "x",
    "transformation": "circle",
    "similarity": "square",
    "attention": "triangle-up",
    "query": "diamond",
}


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


def front_html(figure: FrontFigure, path: str | Path) -> Path:
    """Draw the front as an interactive page that loads nothing from the network; returns its path.

    Raises:
        MissingDependencyError: plotly is not installed.
        DataError: the file cannot be written.
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise missing_dependency(error) from error
    page = go.Figure()
    for family, points in figure.families():
        page.add_scatter(
            x=[p.flops_ratio for p in points],
            y=[p.accuracy for p in points],
            mode="markers",
            name=family,
            marker={"color": COLORS[family], "symbol": _SYMBOLS[family], "size": 9, "opacity": 0.8},
            text=[f"trial {p.trial}<br>" + p.label.replace("; ", "<br>") for p in points],
            hovertemplate="%{text}<br>accuracy %{y:.3f}<br>FLOPs ratio %{x:.3f}<extra></extra>",
        )
    x, y = figure.line()
    line = {"color": "black", "shape": "hv", "width": 1.5}
    page.add_scatter(x=x, y=y, mode="lines", name="front", line=line, hoverinfo="skip")
    mean, low, high = figure.uncompressed
    page.add_scatter(
        x=[1.0],
        y=[mean],
        mode="markers",
        name="uncompressed",
        marker={"color": "black", "symbol": "star", "size": 13},
        error_y={"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low]},
        hovertemplate=f"uncompressed<br>accuracy {mean:.3f} ({low:.3f} to {high:.3f})<extra></extra>",
    )
    page.add_vline(x=figure.budget, line={"color": BUDGET_COLOR, "dash": "dash"}, annotation_text="budget")
    page.update_layout(
        title=figure.title,
        xaxis={"title": FLOPS_LABEL, "range": [0, 1.05]},
        yaxis={"title": f"accuracy ({figure.split} split)"},
        template="plotly_white",
    )
    with replacing(path) as beside:
        page.write_html(beside, include_plotlyjs=True)
    return Path(path)
