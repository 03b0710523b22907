"""Input downsampling: lower resolution, fewer frames or a longer hop (the control of VTC-Bench, 2510.07143)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from autotc.mechanisms.base import Mechanism, Params, Reduction, Score, Tokens, target_count
from autotc.mechanisms.transformation.avg_pool import AvgPool
from autotc.vocabulary import MODALITIES, Modality


class DownsampleParams(Params):
    """Parameters of `Downsample`: ``axis``, what a video gives up where its family leaves the choice."""

    axis: Literal["space", "time"] = "space"


class Downsample(Mechanism):
    """Resize the input so that fewer tokens arise; on tokens, area averaging to the same number."""

    name = "downsample"
    family = "transformation"
    modalities = MODALITIES
    locations = ("input",)
    uses_grid = True
    criterion = "resolution"
    source = "control; VTC-Bench, arXiv 2510.07143"
    Params = DownsampleParams
    params: DownsampleParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return AvgPool().reduce(tokens, budget, scores)

    def target_length(self, grid: tuple[int, int, int], keep_ratio: float) -> int:
        """The length t that comes nearest to the target count of a grid (t, y, x) of tokens, frames as they are."""
        t, y, x = grid
        target = target_count(keep_ratio, t * y * x, t * y * x)
        return target_count(1.0, int(target / (y * x) + 0.5), t)

    def choice(self, counts: Sequence[int], keep_ratio: float) -> int:
        """Which of the counts that a family can give an item comes nearest to the target; the first is uncompressed.

        Of two as near it is the larger.
        """
        target = target_count(keep_ratio, counts[0], counts[0])
        return min(range(len(counts)), key=lambda i: (abs(counts[i] - target), -counts[i], i))

    def target_grid(self, grid: tuple[int, int, int], keep_ratio: float, modality: Modality) -> tuple[int, int, int]:
        """The grid to resize an item to, with a product as near to the target count as its aspect allows.

        Args:
            grid: (t, y, x) in tokens, each at least 1.
            keep_ratio: in (0, 1], of the grid's product.
            modality: audio and ``axis="time"`` shorten t alone; image and ``axis="space"`` shrink y and x alike.

        Returns:
            (t, y, x) in tokens, no axis longer than before and none below 1.
        """
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
