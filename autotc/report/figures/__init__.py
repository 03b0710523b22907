"""Every figure: PNG by matplotlib, which nothing else imports, and inline SVG."""

from autotc.report.figures.canvas import COLORS
from autotc.report.figures.curves import Curve, curves_png
from autotc.report.figures.dropped import TokenOutcome, dropped_png
from autotc.report.figures.front import FrontFigure, Point, front_png, main_family
from autotc.report.figures.heatmap import HeatmapCell, heatmap_png
from autotc.report.figures.notebook import Shown, notebook_png

__all__ = [
    "COLORS",
    "Curve",
    "FrontFigure",
    "HeatmapCell",
    "Point",
    "Shown",
    "TokenOutcome",
    "curves_png",
    "dropped_png",
    "front_png",
    "heatmap_png",
    "main_family",
    "notebook_png",
]
