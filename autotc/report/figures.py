"""Figures of a study: the Pareto front as PNG (matplotlib) and as interactive HTML (plotly)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.mechanisms import MECHANISMS
from autotc.policy import Policy
from autotc.statistics import Interval

COLORS = {
    "control": "#7f7f7f",
    "transformation": "#1f77b4",
    "similarity": "#2ca02c",
    "attention": "#d62728",
    "query": "#9467bd",
}
"""Colour of a mechanism family in every figure."""
_MARKERS = {"control": "x", "transformation": "o", "similarity": "s", "attention": "^", "query": "D"}
_SYMBOLS = {
    "control": "x", "transformation": "circle", "similarity": "square", "attention": "triangle-up", "query": "diamond"
}  # fmt: skip


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
        out: list[Point] = []
        for point in sorted(self.points, key=lambda p: (p.flops_ratio, -p.accuracy)):
            if not out or point.accuracy > out[-1].accuracy:
                out.append(point)
        return out

    def line(self) -> tuple[list[float], list[float]]:
        """FLOPs ratios and accuracies of the front's line, drawn on to the budget."""
        front = self.front()
        ends = [max(self.budget, front[-1].flops_ratio)] if front else []
        return [p.flops_ratio for p in front] + ends, [p.accuracy for p in front] + [p.accuracy for p in front[-1:]]

    def _families(self) -> list[tuple[str, list[Point]]]:
        return [(f, found) for f in COLORS if (found := [p for p in self.points if p.family == f])]


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
    """Draw the front as PNG; returns its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for family, points in figure._families():
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
    mean, low, high = figure.uncompressed
    axes.errorbar(
        [1.0], [mean], yerr=[[mean - low], [high - mean]], fmt="*", color="black", markersize=11, capsize=4,
        label="uncompressed", zorder=4,
    )  # fmt: skip
    axes.axhline(mean, color="black", linewidth=0.7, linestyle=":", zorder=1)
    axes.axvline(figure.budget, color="#e67e22", linewidth=1.1, linestyle="--", label="budget", zorder=1)
    axes.set(xlabel="FLOPs ratio (prefill, compressed / uncompressed)", ylabel=f"accuracy ({figure.split} split)")
    axes.set_title(figure.title, loc="left", fontsize=11)
    axes.set_xlim(left=0, right=1.05)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=140)
    return path


def front_html(figure: FrontFigure, path: str | Path) -> Path:
    """Draw the front as an interactive page that loads nothing from the network; returns its path."""
    import plotly.graph_objects as go

    page = go.Figure()
    for family, points in figure._families():
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
    page.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name="front",
        line={"color": "black", "shape": "hv", "width": 1.5},
        hoverinfo="skip",
    )
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
    page.add_vline(x=figure.budget, line={"color": "#e67e22", "dash": "dash"}, annotation_text="budget")
    page.update_layout(
        title=figure.title,
        xaxis={"title": "FLOPs ratio (prefill, compressed / uncompressed)", "range": [0, 1.05]},
        yaxis={"title": f"accuracy ({figure.split} split)"},
        template="plotly_white",
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.write_html(path, include_plotlyjs=True)
    return path


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


_PLACES = {"input": "#7f7f7f", "encoder": "#1f77b4", "projector": "#2ca02c", "decoder": "#d62728"}
_STYLES = ("-", "--", ":", "-.")


def curves_png(title: str, curves: Sequence[Curve], uncompressed: Interval, split: str, path: str | Path) -> Path:
    """Draw accuracy against FLOPs, a line for each curve, coloured by group; returns the figure's path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 6.2), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    markers = "osD^v<>pPX*hd8"
    seen: dict[str, int] = {}
    order = [*COLORS, *_PLACES]
    for curve in sorted(curves, key=lambda c: (order.index(c.group), c.name)):
        number = seen.get(curve.group, 0)
        seen[curve.group] = number + 1
        axes.plot(
            [x for x, _ in curve.points],
            [y for _, y in curve.points],
            color={**COLORS, **_PLACES}[curve.group],
            marker=markers[number % len(markers)],
            linestyle=_STYLES[number // len(markers) % len(_STYLES)] if curve.group in COLORS else _STYLES[number % 4],
            markersize=5.5,
            linewidth=1.1,
            alpha=0.85,
            label=curve.name,
        )
    mean, low, high = uncompressed
    axes.errorbar([1.0], [mean], yerr=[[mean - low], [high - mean]], fmt="*", color="black", markersize=11, capsize=4,
                  label="uncompressed", zorder=4)  # fmt: skip
    axes.axhline(mean, color="black", linewidth=0.7, linestyle=":", zorder=1)
    axes.set(xlabel="FLOPs ratio (prefill, compressed / uncompressed)", ylabel=f"accuracy ({split} split)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(left=0, right=1.05)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(loc="outside right upper", frameon=False, fontsize=8, ncols=2 if len(curves) > 24 else 1)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=130)
    return path
