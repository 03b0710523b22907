"""Uniform stride: every k-th token, the control that knows nothing of the content."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autotc.mechanisms.base import Mechanism, Reduction, Score, Tokens
from autotc.vocabulary import MODALITIES


class UniformStride(Mechanism):
    """Keep tokens evenly spaced in raster order; with a budget that divides the count, every k-th from the first."""

    name = "uniform_stride"
    family = "control"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "position"
    source = "control"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        count = tokens.count.clamp_min(1)[:, None]
        rank = tokens.valid.cumsum(1) - 1
        # The token that opens each of `budget` near-equal runs: floor(rank x budget / count) steps up exactly there.
        opens = torch.remainder(rank * budget[:, None], count) < budget[:, None]
        return Reduction.select(opens & tokens.valid)
