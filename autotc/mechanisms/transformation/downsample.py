"""Input downsampling: lower resolution, fewer frames or a longer hop (the control of VTC-Bench, 2510.07143)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from autotc.mechanisms.contract import InputMechanism, Params
from autotc.mechanisms.counting import target_count
from autotc.vocabulary import MODALITIES, Modality


class DownsampleParams(Params):
    """Parameters of `Downsample`: ``axis``, what a video gives up where its family leaves the choice."""

    axis: Literal["space", "time"] = "space"


class Downsample(InputMechanism):
    """Resize the input so that fewer tokens arise.

    Audio and ``axis: time`` shorten t alone; images and ``axis: space`` shrink y and x alike. Of two counts as near to
    the target, the larger is taken.
    """

    name = "downsample"
    family = "transformation"
    modalities = MODALITIES
    locations = ("input",)
    uses_grid = True
    criterion = "resolution"
    source = "control; VTC-Bench, arXiv 2510.07143"
    Params = DownsampleParams
    params: DownsampleParams

    def target_length(self, grid: tuple[int, int, int], keep_ratio: float) -> int:
        t, y, x = grid
        target = target_count(keep_ratio, t * y * x, t * y * x)
        return target_count(1.0, int(target / (y * x) + 0.5), t)

    def choice(self, counts: Sequence[int], keep_ratio: float) -> int:
        target = target_count(keep_ratio, counts[0], counts[0])
        return min(range(len(counts)), key=lambda i: (abs(counts[i] - target), -counts[i], i))

    def target_grid(self, grid: tuple[int, int, int], keep_ratio: float, modality: Modality) -> tuple[int, int, int]:
        t, y, x = grid
        target = target_count(keep_ratio, t * y * x, t * y * x)
        if modality == "audio" or (modality == "video" and self.params.axis == "time"):
            return self.target_length(grid, keep_ratio), y, x
        share = target / t
        scale = (share / (y * x)) ** 0.5
        # Only grids next to the ideal one keep the aspect; of these the nearest product wins, then the nearest aspect.
        near = [
            (rows, columns)
            for rows in {max(1, min(y, int(y * scale + 1e-9) + i)) for i in (0, 1)}
            for columns in {max(1, min(x, int(x * scale + 1e-9) + i)) for i in (0, 1)}
        ]
        rows, columns = min(near, key=lambda g: (abs(g[0] * g[1] - share), abs(g[0] * x - g[1] * y), g))
        return t, rows, columns
