"""A medium's tokens at one stage, drawn over it: kept ones clear, merged ones in their survivor's colour, dropped ones
dimmed.
"""

from __future__ import annotations

import colorsys
import io
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autotc.errors import missing_dependency
from autotc.records.shown import MediumView, Panel, StageOutcome

if TYPE_CHECKING:
    from PIL import Image

_SPECTRUM = (400, 160)
"""Window and step of a clip's spectrum, in samples."""
_SOUND_SIZE = (150, 900)
_GAP = 8
_PANELS = 8
"""Most panels of one stage; of a longer video as many spans, evenly spread."""
_COLUMNS = 4
_DIM = 140.0
"""Grey that dropped tokens fade to, which differs from black and from white."""
_GOLDEN = 0.618034
_EMPTY = 225
_TINT = 0.5
_OUTLINED = 7
"""Pixels of the smallest token that gets an outline."""

Pixels = NDArray[np.float32]


def shown_panels(stage: StageOutcome) -> list[int]:
    """Panels of a stage that are drawn."""
    count = len(stage.grid.panels)
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, _PANELS))})


def draw_tokens(medium: MediumView, stage: StageOutcome) -> Image.Image:
    """A medium at one stage, its panels side by side (Pillow, RGBA, at most 900 pixels wide).

    Args:
        medium: to draw.
        stage: one of its stages.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_dependency(error) from error
    chosen = shown_panels(stage)
    rows = math.ceil(len(chosen) / _COLUMNS)
    columns = math.ceil(len(chosen) / rows)
    height, width = _panel_size(medium, columns)
    # Clear between the panels, for pages are light or dark.
    sheet = np.zeros((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4), dtype=np.float32)
    for place, panel in enumerate(chosen):
        drawn = _background(medium, stage.grid.panels[panel], (height, width))
        _paint(drawn, stage, panel, sound=medium.modality == "audio")
        y, x = place // columns * (height + _GAP), place % columns * (width + _GAP)
        sheet[y : y + height, x : x + width, :3] = drawn
        sheet[y : y + height, x : x + width, 3] = 255
    image = Image.fromarray(sheet.clip(0, 255).astype(np.uint8))
    for place, panel in enumerate(chosen):
        corner = place % columns * (width + _GAP), place // columns * (height + _GAP)
        _write(image, stage.grid.panels[panel].label, corner)
    return image


def _write(image: Image.Image, label: str, corner: tuple[int, int]) -> None:
    """Write what a panel shows into its upper left corner."""
    from PIL import ImageDraw

    if not label:
        return
    draw = ImageDraw.Draw(image)
    at = (corner[0] + 4, corner[1] + 3)
    left, top, right, bottom = draw.textbbox(at, label)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=(0, 0, 0, 255))
    draw.text(at, label, fill=(255, 255, 255, 255))


def encode_webp(image: Image.Image, limit: int) -> bytes:
    """A picture as WebP of at most so many bytes: quality is lowered first, then the size."""
    quality = 85
    while True:
        out = io.BytesIO()
        image.save(out, format="WEBP", quality=quality, method=4)
        if out.tell() <= limit or max(image.size) <= 32:
            return out.getvalue()
        if quality > 45:
            quality -= 20
        else:
            image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))


def _panel_size(medium: MediumView, columns: int) -> tuple[int, int]:
    """Height and width of a panel in pixels."""
    if medium.modality == "audio":
        return _SOUND_SIZE
    if medium.content is None:
        height, width = medium.extent[1:]
    else:
        height, width = medium.content.shape[-3:-1]
    side = 420 if columns == 1 else 900 // columns - _GAP
    scale = side / max(height, width, 1)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _background(medium: MediumView, panel: Panel, size: tuple[int, int]) -> Pixels:
    """A panel's part of the medium, (height, width, 3)."""
    from PIL import Image

    if medium.content is None:
        return np.full((*size, 3), _EMPTY, dtype=np.float32)
    if medium.modality == "audio":
        picture = _spectrum(medium.content)
    elif medium.content.ndim == 4:
        middle = sum(panel.span) / 2 * len(medium.content)
        picture = medium.content[min(len(medium.content) - 1, int(middle))]
    else:
        picture = medium.content
    image = Image.fromarray(np.ascontiguousarray(picture.astype(np.uint8))).convert("RGB")
    small = max(image.size) < min(size) // 2
    # Few pixels stay to be seen as pixels.
    resampling = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    return np.asarray(image.resize((size[1], size[0]), resampling, reducing_gap=2.0), dtype=np.float32).copy()


def _spectrum(sound: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Loudness of frequencies (upwards) over time, loud dark."""
    window, step = _SPECTRUM
    padded = np.pad(np.asarray(sound, dtype=np.float32), (0, max(0, window - len(sound))))
    step = max(step, len(padded) // 4000)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step] * np.hanning(window)
    power = np.log10(np.abs(np.fft.rfft(frames, axis=1)).T[::-1] ** 2 + 1e-4)
    low, high = np.percentile(power, 40), power.max()
    return np.asarray(255 - 235 * ((power - low) / max(high - low, 1e-6)).clip(0, 1), dtype=np.uint8)


def survivor_color(token: int) -> tuple[float, float, float]:
    """Colour of a survivor with what flows into it, (R, G, B) from 0 to 255, the same at every stage.

    Args:
        token: whose position it holds.
    """
    red, green, blue = colorsys.hsv_to_rgb(token * _GOLDEN % 1.0, 0.85, 0.95 if token % 2 else 0.75)
    return 255 * red, 255 * green, 255 * blue


def _paint(drawn: Pixels, stage: StageOutcome, panel: int, *, sound: bool) -> None:
    """Draw a panel's tokens."""
    height, width = drawn.shape[:2]
    merged, survivors = stage.merged, np.flatnonzero(stage.kept)
    members = np.flatnonzero(stage.grid.panel == panel)
    boxes = stage.grid.boxes[members]
    # Time runs to the right in sound, whose tokens have no place in space.
    spans = boxes[:, [2, 3, 0, 1] if sound else [2, 3, 4, 5]]
    # Neighbours share an edge but for the last bits of a float; where that is half a pixel, both are to round alike.
    edges = np.floor(np.round(spans * np.array([height, height, width, width]), 3) + 0.5).astype(int)
    for token, (y0, y1, x0, x1) in zip(members, edges, strict=True):
        area = drawn[y0:y1, x0:x1]
        color = np.asarray(survivor_color(int(survivors[stage.group[token]])), dtype=np.float32)
        if stage.group[token] < 0:
            area[:] = 0.25 * area.mean(axis=2, keepdims=True) + 0.75 * _DIM
        elif merged[token]:
            area[:] = (1 - _TINT) * area + _TINT * color
        if min(y1 - y0, x1 - x0) < _OUTLINED:
            continue
        if stage.group[token] >= 0 and not merged[token]:
            _frame(area, np.float32(_DIM), 1)
        elif merged[token] and stage.kept[token]:
            _frame(area, color, 2)


def _frame(area: Pixels, color: NDArray[np.float32] | np.float32, line: int) -> None:
    area[:line] = area[-line:] = color
    area[:, :line] = area[:, -line:] = color
