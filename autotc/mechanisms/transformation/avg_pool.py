"""Average pooling on the (t, y, x) grid to any number of survivors (PLLaVA, 2404.16994)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.grouping import merge_boxes
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


def _part(place: Tensor, parts: Tensor, size: Tensor) -> Tensor:
    """Which of ``parts`` near-equal contiguous parts of an axis of length ``size`` holds each place."""
    return place * parts // size


def _share(part: Tensor, parts: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """First survivor and number of survivors of a part, when ``total`` are spread near-equally over ``parts``.

    Earlier parts get the larger share, as `_part` makes them the longer ones.
    """
    start = (part * total + parts - 1) // parts
    return start, ((part + 1) * total + parts - 1) // parts - start


def partition(tokens: Tokens, budget: Tensor) -> tuple[Tensor, Tensor]:
    """Split each row's grid into exactly ``budget`` compact boxes.

    Frames are kept apart as long as the budget allows, as PLLaVA pools in space: the item is cut into
    min(frames, budget) slabs, each slab into bands of rows, each band into boxes, all near-equal. The number of bands
    keeps the boxes' aspect near the cells'. A row whose tokens are no full grid is split along its order instead.

    Returns:
        box (B, N) long, number of each token's box, from 0; and centre (B, N) bool, the one token at each box's centre.
    """
    valid, wide = tokens.valid, budget[:, None]
    count = tokens.count.clamp_min(1)
    size = (tokens.grid + 1).masked_fill(~valid[..., None], 1).amax(1)
    flat = (size.prod(1) != count)[:, None]
    rank = (valid.cumsum(1) - 1).clamp_min(0)
    line = torch.stack([rank, torch.zeros_like(rank), torch.zeros_like(rank)], -1)
    place = torch.where(flat[..., None], line, tokens.grid).masked_fill(~valid[..., None], 0)
    size = torch.where(flat, torch.stack([count, torch.ones_like(count), torch.ones_like(count)], -1), size)
    t, y, x = place.unbind(-1)
    frames, rows, columns = (size[:, i, None] for i in range(3))

    slabs = torch.minimum(frames, wide)
    slab_start, slab_total = _share(_part(t, slabs, frames), slabs, wide)
    scale = (slab_total.double() / (rows * columns)).sqrt()
    fewest = (slab_total + columns - 1) // columns  # no band may hold more boxes than columns
    bands = torch.minimum(torch.maximum((rows * scale + 0.5).long(), fewest), torch.minimum(rows, slab_total))
    band_start, band_total = _share(_part(y, bands, rows), bands, slab_total)
    box = slab_start + band_start + _part(x, band_total, columns)
    box = box.masked_fill(~valid, 0)

    index = box[..., None].expand(-1, -1, 3)
    far = int(size.max()) + 1
    low = torch.full_like(place, far).scatter_reduce_(1, index, place.masked_fill(~valid[..., None], far), "amin")
    high = torch.full_like(place, -1).scatter_reduce_(1, index, place.masked_fill(~valid[..., None], -1), "amax")
    middle = (low + high).div(2, rounding_mode="floor").gather(1, index)
    return box, (place == middle).all(-1) & valid


class AvgPool(Mechanism):
    """Each survivor is the plain mean of one box of the grid and takes the position at the box's centre.

    Where budget and grid divide evenly this is adaptive average pooling; elsewhere boxes differ by one cell but never
    overlap, so that any budget is met exactly; PLLaVA has one fixed output shape.
    """

    name = "avg_pool"
    family = "transformation"
    modalities = MODALITIES
    locations = ("projector",)
    uses_grid = True
    criterion = "resolution"
    source = "PLLaVA, arXiv 2404.16994; adaptive average pooling of the official `modeling_pllava.py`"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return merge_boxes(*partition(tokens, budget), tokens.valid, tokens.valid.float())
