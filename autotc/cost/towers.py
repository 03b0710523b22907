"""FLOPs inside vision and audio towers."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.models import BoundAdapter, Item, TowerShape, spread


def running_rows(bound: BoundAdapter, items: Sequence[Item], block: int, left: Sequence[int]) -> list[float]:
    """Rows of each segment of a block that still run, survivors spread evenly over an item's segments.

    Segments of a tiled tower are rows of one batch, padded to the longest.

    Args:
        bound: of the model.
        items: of one modality, at least one.
        block: of the tower.
        left: units that are left of each item.
    """
    shape = bound.tower(items[0].modality)
    rows: list[float] = []
    for item, count in zip(items, left, strict=True):
        sizes = [len(segment) for segment in bound.segments(item, block)]
        # A tiled tower divides survivors in whole tokens; in a packed one windows shrink by the same share on average.
        kept: Sequence[float] = spread(count, sizes) if shape.tiled else [size * count / item.count for size in sizes]
        rows += [units * shape.unit + spare for units, spare in zip(kept, bound.spare_rows(item, block), strict=True)]
    return [max(rows)] * len(rows) if shape.tiled else rows


def block_flops(shape: TowerShape, rows: Sequence[float]) -> float:
    """FLOPs of a block of a tower on segments of so many rows.

    Queries, keys, values and output are four matrices (width x width) on every row, the MLP two or three; scores and
    their weighted sum multiply every pair of rows of a segment.
    """
    mlp = (3 if shape.gated else 2) * shape.width * shape.hidden
    return 2 * sum(rows) * (4 * shape.width**2 + mlp) + 4 * shape.width * sum(r * r for r in rows)
