"""Every figure: PNG by matplotlib, which nothing else imports, inline SVG, and pages of pictures."""

from autotc.report.figures.canvas import COLORS
from autotc.report.figures.curves import Curve, curves_png
from autotc.report.figures.front import FrontFigure, Point, front_png, main_family
from autotc.report.figures.heatmap import HeatmapCell, heatmap_png
from autotc.report.figures.notebook import Shown, notebook_png
from autotc.report.figures.overlay import media_png, overlay_data_uri, overlay_png, overlay_webp
from autotc.report.figures.page import overlay_pages, page_html

__all__ = [
    "COLORS",
    "Curve",
    "FrontFigure",
    "HeatmapCell",
    "Point",
    "Shown",
    "curves_png",
    "front_png",
    "heatmap_png",
    "main_family",
    "media_png",
    "notebook_png",
    "overlay_data_uri",
    "overlay_pages",
    "overlay_png",
    "overlay_webp",
    "page_html",
]
