"""What became of a request's tokens at every stage: a figure as PNG, and a small picture to put into a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import one_line
from autotc.records.shown import Answer, MediumView, RequestView, StageOutcome
from autotc.report.figures.canvas import new_canvas, save_png
from autotc.report.figures.tokens import draw_tokens, encode_webp, shown_panels

if TYPE_CHECKING:
    from PIL import Image

LEGEND = "clear: kept; one colour: merged, the survivor framed; grey: dropped"
INLINE_BYTES = 60_000
"""Of a picture that is put into a page."""
_WIDTH = 9.4
"""Inches of a figure."""
_COLUMNS = 3
"""Narrow pictures in a line of it."""
_NARROW = 420
"""Pixels of the widest of them."""


def overlay_png(view: RequestView, path: str | Path) -> Path:
    """Draw a request at every stage of a policy, with the answers; returns the figure's path.

    Args:
        view: what became of the request.
        path: to write.

    Raises:
        MissingDependencyError: matplotlib or Pillow is not installed.
        DataError: the file cannot be written.
    """
    lines = [
        f"{view.policy}, {view.id}: FLOPs ratio {view.flops_ratio:.3f}",
        f"prompt: {one_line(view.prompt, 110)}",
        *([] if view.right is None else [f"right: {one_line(view.right, 110)}"]),
        f"with the policy: {answer_words(view.answer)}",
        f"without it: {answer_words(view.baseline)}",
        *(f"{modality}: no stage of the policy acts on it" for modality in view.untouched),
    ]
    return media_png("\n".join(lines), view.media, path)


def media_png(title: str, media: Sequence[MediumView], path: str | Path) -> Path:
    """Draw media at every stage; returns the figure's path.

    Args:
        title: of the figure, any number of lines.
        media: to draw, one below the other.
        path: to write.

    Raises:
        MissingDependencyError: matplotlib or Pillow is not installed.
        DataError: the file cannot be written.
    """
    lines = [line for medium in media for line in _lines(medium)]
    shares = [_height(line) for line in lines]
    head = 0.2 * (title.count("\n") + 1) + 0.35
    canvas = new_canvas(_WIDTH, sum(shares) + head)
    grid = canvas.add_gridspec(len(lines), _COLUMNS, height_ratios=shares)
    for i, line in enumerate(lines):
        for j, (words, picture) in enumerate(line):
            axes = canvas.add_subplot(grid[i, j] if picture.width <= _NARROW else grid[i, :])
            axes.imshow(picture, interpolation="antialiased")
            axes.set_title(words, loc="left", fontsize=8, parse_math=False)
            axes.set_axis_off()
    canvas.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
    canvas.supxlabel(LEGEND, x=0.01, ha="left", fontsize=8, parse_math=False)
    return save_png(canvas, path)


def _lines(medium: MediumView) -> list[list[tuple[str, Image.Image]]]:
    """A medium's stages in lines: narrow pictures stand side by side."""
    drawn = [(stage_words(medium, stage), draw_tokens(medium, stage)) for stage in medium.stages]
    columns = _COLUMNS if all(picture.width <= _NARROW for _, picture in drawn) else 1
    return [drawn[i : i + columns] for i in range(0, len(drawn), columns)]


def _height(line: Sequence[tuple[str, Image.Image]]) -> float:
    """Inches of a line."""
    return max(
        picture.height / picture.width * (_WIDTH / _COLUMNS if picture.width <= _NARROW else _WIDTH) + 0.35
        for _, picture in line
    )


def overlay_webp(view: RequestView, *, medium: int = 0, stage: int = -1, limit: int = INLINE_BYTES) -> bytes:
    """One medium of a request at one stage, as the bytes of a WebP picture.

    Args:
        view: what became of the request.
        medium: index of the medium.
        stage: index of its stage; 0 is uncompressed, -1 the last.
        limit: bytes, at most.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    chosen = view.media[medium]
    return encode_webp(draw_tokens(chosen, chosen.stages[stage]), limit)


def overlay_data_uri(view: RequestView, *, medium: int = 0, stage: int = -1, limit: int = INLINE_BYTES) -> str:
    """The same as a ``data:`` address, which a page holds without a file; arguments as of `overlay_webp`."""
    data = overlay_webp(view, medium=medium, stage=stage, limit=limit)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def answer_words(answer: Answer) -> str:
    """An answer in one line, with whether it is right."""
    return one_line(answer.text, 110) + (f" ({answer.verdict})" if answer.verdict else "")


def stage_words(medium: MediumView, stage: StageOutcome) -> str:
    """A stage with the tokens that it leaves, and how many panels are left out."""
    whole, drawn = len(stage.grid.panels), len(shown_panels(stage))
    label = stage.label if stage.location else f"{medium.modality} uncompressed"
    return f"{label}: {counted(medium, stage)}" + (f" ({drawn} of {whole} spans drawn)" if drawn < whole else "")


def counted(medium: MediumView, stage: StageOutcome) -> str:
    """Tokens left of those uncompressed."""
    whole = medium.stages[0].left
    return f"{stage.left:,} tokens" if stage is medium.stages[0] else f"{stage.left:,} of {whole:,} tokens"
