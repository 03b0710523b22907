"""Uniform stride: every k-th token, the control that knows nothing of the content."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
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
