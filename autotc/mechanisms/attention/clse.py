"""CLSE: attention times the change of a token's high frequencies over a layer (2606.24165; official `tools.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens

_EPSILON = 1e-6


class ClseParams(Params):
    """Parameters of `Clse`, with the official code's values.

    Attributes:
        cutoff: width of the Gaussian that the filter takes away, as a share of half of the frame's shorter side.
        temperature: what the standardised change is divided by before the logistic function.
    """

    cutoff: float = Field(0.1, gt=0)
    temperature: float = Field(0.1, gt=0)


class Clse(Mechanism):
    """Top-k of the last token's attention times how much the layer before has changed a token's high frequencies.

    A token's high frequencies are the mean over channels of what a Gaussian high-pass filter leaves of its frame there.
    Their change, relative to the item's mean and their own value before the layer, is at most 1, is standardised over
    the item, and goes through a logistic function. The code filters by Fourier transforms; the Gaussian is a product of
    one function of the rows and one of the columns, so here it is two small matrices, with the same values. In a frame
    with a side of 1, where the code's filter is not defined, the other side alone sets the width.
    """

    name = "clse"
    family = "attention"
    modalities = ("image", "video")
    locations = ("decoder",)
    needs = ("features_before", "last_query_attention")
    uses_grid = True
    criterion = "change of high frequencies x last_query_attention"
    source = "CLSE, arXiv 2606.24165; `calculate_evolution_score` of the official code"
    Params = ClseParams
    params: ClseParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        before = high_frequencies(scores["features_before"], tokens, self.params.cutoff)
        now = high_frequencies(tokens.features, tokens, self.params.cutoff)
        count = tokens.count[:, None]
        change = (now - before).abs() / (before.sum(1, keepdim=True) / count + before + _EPSILON)
        change = change.clamp_max(1.0).masked_fill(~valid, 0.0)
        apart = (change - change.sum(1, keepdim=True) / count).masked_fill(~valid, 0.0)
        spread = (apart.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()
        evolution = (apart / (spread + _EPSILON) / self.params.temperature).sigmoid()
        return Reduction.select(top_mask(evolution * scores["last_query_attention"].double(), budget, valid))

    def flops(self, work: Work) -> int:
        # Rows and columns of a frame: at most as many as it has tokens, and one.
        return 2 * 2 * work.n * (work.n // work.frames + 1) * work.d


def high_frequencies(values: Tensor, tokens: Tokens, cutoff: float) -> Tensor:
    """Mean over channels of the absolute high-passed frames, (B, N) float64; zeros on padding.

    Args:
        values: (B, N, D) float, of rows that are full grids.
        tokens: whose they are.
        cutoff: of the filter.
    """
    valid, width = tokens.valid, values.shape[2]
    grid = tokens.grid.masked_fill(~valid[..., None], 0)
    side = grid.amax(1) + 1
    frames, rows, columns = side.amax(0).tolist()
    place = (grid[..., 0] * rows + grid[..., 1]) * columns + grid[..., 2]
    place = place.masked_fill(~valid, frames * rows * columns)[..., None].expand_as(values)
    # In float64: where two tokens change alike, rounding would be what is standardised.
    clean = values.double().masked_fill(~valid[..., None], 0.0)
    field = clean.new_zeros(len(values), frames * rows * columns + 1, width).scatter_(1, place, clean)
    half = (side[:, 1:] // 2).double().masked_fill(side[:, 1:] == 1, torch.inf).amin(1)
    sigma = cutoff * half.masked_fill(half.isinf(), 1.0)
    by_row, by_column = low_pass(side[:, 1], sigma, rows), low_pass(side[:, 2], sigma, columns)
    # Rows first, all frames and columns of an item side by side; then columns.
    low = field[:, :-1].view(-1, frames, rows, columns * width)
    low = torch.matmul(by_row[:, None], low).view(-1, frames * rows, columns, width)
    low = torch.matmul(by_column[:, None], low).reshape(len(values), -1, width)
    high = (clean - torch.cat([low, low[:, :1]], 1).gather(1, place)).abs()
    return high.mean(2).masked_fill(~valid, 0.0)


def low_pass(size: Tensor, sigma: Tensor, length: int) -> Tensor:
    """A Gaussian of the frequency as matrices (B, length, length) float64 on periodic signals of (B,) ``size`` each."""
    place, size = torch.arange(length, device=size.device), size[:, None]
    wave, real = place - size // 2, place < size
    gain = (-wave.double().square() / (2 * sigma[:, None] ** 2)).exp().masked_fill(~real, 0.0)
    # What a place gives to the one so many places on: the cosines of all frequencies, by their gains.
    turns = (place[:, None] * wave[:, None]) % size[..., None]
    kernel = ((2 * math.pi / size.double()[..., None] * turns).cos() * gain[:, None]).sum(2) / size
    lag = (place[:, None] - place)[None] % size[..., None]
    matrix = kernel.gather(1, lag.flatten(1)).view(lag.shape)
    return matrix.masked_fill(~(real[:, :, None] & real[:, None]), 0.0)
