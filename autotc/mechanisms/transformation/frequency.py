"""Frequency: a truncated cosine transform of each frame (Fourier-VLM, 2508.06038, in the form without training)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.transformation.avg_pool import partition


class Frequency(Mechanism):
    """Keep the lowest frequencies of a frame's 2-D DCT and read the smoothed frame at evenly spread places.

    The paper crops the spectrum to k x k and inverts it at that size, which reads the low-passed field at the centres
    of k x k boxes. So does this, for any count m: the m frequencies (u, v) of least (u / rows)^2 + (v / columns)^2 are
    kept and the field is read at the centres of m near-equal boxes, scaled so that a constant frame stays as it is.
    The paper trains the model on the result. Frames share the budget near-equally; below one token a frame,
    neighbouring frames are averaged. A frame that keeps all its tokens keeps them as they are.
    """

    name = "frequency"
    family = "transformation"
    modalities = ("image", "video")
    locations = ("projector",)
    uses_grid = True
    criterion = "frequency"
    source = "Fourier-VLM, arXiv 2508.06038"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        if bool((budget == tokens.count).all()):
            return Reduction.select(valid)
        box, centre = partition(tokens, budget)
        size = (tokens.grid + 1).masked_fill(~valid[..., None], 1).amax(1)
        slabs = torch.minimum(size[:, 0], budget)
        slab = (tokens.grid[..., 0] * slabs[:, None] // size[:, :1]).masked_fill(~valid, -1)
        place = tokens.grid[..., 1:].double().masked_fill(~valid[..., None], 0.0)
        middle = self._box_means(place, box, valid)
        waves = self._lowest(size[:, 1:])
        column = centre.cumsum(1) - 1

        parts: list[tuple[Tensor, ...]] = []
        for number in range(int(slabs.max())):
            inside = slab == number
            source, target = Reduction.select(inside).keep, Reduction.select(inside & centre).keep
            cells, kept = (source >= 0).sum(1)[:, None, None], (target >= 0).sum(1)[:, None, None]
            wave = waves[:, : target.shape[1]]
            scale = (wave > 0).add(1).prod(2)[:, None] / cells.clamp_min(1)
            scale = scale.masked_fill(torch.arange(wave.shape[1], device=valid.device) >= kept, 0.0)
            read = self._basis(middle, target, wave, size) * scale
            weight = torch.bmm(read, self._basis(place, source, wave, size).mT)
            same = (target[:, :, None] == source[:, None]).to(weight)
            weight = torch.where(kept == cells, same, weight)
            weight = weight.masked_fill((target < 0)[:, :, None] | (source < 0)[:, None], 0.0)
            row, to, at = (weight.abs() > 1e-12).nonzero(as_tuple=True)
            parts.append((row, source[row, at], column[row, target[row, to]], weight[row, to, at].float()))
        return Reduction.linear(centre, *(torch.cat(values) for values in zip(*parts, strict=True)))

    @staticmethod
    def _box_means(place: Tensor, box: Tensor, valid: Tensor) -> Tensor:
        """Centre (y, x) of each token's box, (B, N, 2), from the tokens' places."""
        values = torch.cat([place, valid[..., None].double()], -1)
        index = box[..., None].expand_as(values)
        sums = torch.zeros_like(values).scatter_add_(1, index, values).gather(1, index)
        return sums[..., :2] / sums[..., 2:].clamp_min(1.0)

    @staticmethod
    def _lowest(size: Tensor) -> Tensor:
        """Frequencies (u, v) by rising radius, (B, F, 2) long, of frames of (rows, columns) ``size`` (B, 2)."""
        rows, columns = size[:, :1], size[:, 1:]
        number = torch.arange(int(size.prod(1).max()), device=size.device)
        u, v = number // columns, number % columns
        radius = (u * columns).square() + (v * rows).square()  # in whole numbers, so that ties are ties
        radius = radius.masked_fill(number >= rows * columns, torch.iinfo(torch.long).max)
        order = radius.argsort(dim=1, stable=True)
        return torch.stack([u.gather(1, order), v.gather(1, order)], -1)

    @staticmethod
    def _basis(place: Tensor, at: Tensor, wave: Tensor, size: Tensor) -> Tensor:
        """Cosines (B, P, K) of the K waves at the P tokens ``at`` (B, P), whose places are of (B, N, 2)."""
        where = place.gather(1, at.clamp_min(0)[..., None].expand(-1, -1, 2))
        angle = math.pi * (where + 0.5)[:, :, None] * wave[:, None] / size[:, None, None, 1:]
        return angle.cos().prod(3)

    def flops(self, work: Work) -> int:
        if work.m == work.n:
            return 0
        slabs, cells = min(work.frames, work.m), work.n // work.frames
        starts = [-(-i * work.m // slabs) for i in range(slabs + 1)]
        times = [-(-i * work.frames // slabs) for i in range(slabs + 1)]
        return sum(2 * (starts[i + 1] - starts[i]) ** 2 * (times[i + 1] - times[i]) * cells for i in range(slabs))
