"""Items of a request: their grids, places and counts; how survivors divide over tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from autotc.lazy import Tensor, torch
from autotc.models.media import Medium
from autotc.vocabulary import Modality


@dataclass(frozen=True)
class Item:
    """Geometry of one image, video or audio clip.

    Attributes:
        modality: what it is.
        grid: (t, y, x) output units; their product is the item's token count.
        n0: its uncompressed token count at the language model (differs when an input stage has shrunk it).
        extent: source extent of one unit: (seconds, pixels, pixels).
    """

    modality: Modality
    grid: tuple[int, int, int]
    n0: int
    extent: tuple[float, float, float]

    @property
    def count(self) -> int:
        """Units of the item as it enters the tower."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def slots(self) -> int:
        """Placeholders it takes in the prompt: its units, and structure such as newlines that is never offered."""
        return self.count

    @property
    def structure(self) -> int:
        """Tokens of the prompt that come and go with it and are no units: newlines, marks of tiles."""
        return self.slots - self.count

    def offsets(self) -> Tensor:
        """(N,) long, ascending: which of the item's placeholders holds each unit."""
        return torch.arange(self.count)

    def resized(self, grid: tuple[int, int, int]) -> Self:
        """The item after an input stage has brought it to another unit grid."""
        return replace(self, grid=grid, extent=self._scaled(self.grid, grid))

    def shrunk_from(self, original: Medium) -> Self:
        """The item as what an input stage made of a medium."""
        return replace(self, n0=original.n0, extent=self._scaled(original.grid, self.grid))

    def _scaled(self, old: tuple[int, int, int], new: tuple[int, int, int]) -> tuple[float, float, float]:
        t, y, x = (e * a / b for e, a, b in zip(self.extent, old, new, strict=True))
        return t, y, x

    def places(self) -> Tensor:
        """(N, 3) long: (t, y, x) of each unit in the language model's order."""
        t, y, x = self.grid
        axes = torch.meshgrid(torch.arange(t), torch.arange(y), torch.arange(x), indexing="ij")
        return torch.stack([axis.reshape(-1) for axis in axes], 1)

    def boxes(self) -> Tensor:
        """(N, 6) float: source extent (t0, t1, y0, y1, x0, x1) of each unit, in seconds and pixels."""
        low = self.places().float() * torch.tensor(self.extent)
        high = low + torch.tensor(self.extent)
        return torch.stack([low, high], -1).reshape(-1, 6)


@dataclass(frozen=True)
class Media:
    """Random media of one prompt, for measurements that no processor and no data are needed for.

    Attributes:
        ids: what stands for them in the prompt.
        inputs: the model's arguments; those of a batch are joined along their first dimension.
        along: arguments that are joined along another.
    """

    ids: list[int]
    inputs: dict[str, Tensor]
    along: dict[str, int] = field(default_factory=dict)


def square_rows(grids: Sequence[tuple[int, int]], side: int) -> Tensor:
    """(units, side x side) long: rows of each unit, a square of them, where pictures' rows stand line by line.

    Args:
        grids: rows and columns of each picture, in units.
        side: of a unit, in rows.
    """
    start, out = 0, []
    for y, x in grids:
        rows = start + torch.arange(y * x * side**2).view(y * side, x * side)
        out.append(rows.unfold(0, side, side).unfold(1, side, side).reshape(-1, side**2))
        start += y * x * side**2
    return torch.cat(out)


def spread(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide survivors over an item's tiles in proportion to their sizes; what rounding leaves goes to largest rests.

    Args:
        total: survivors, at most the sum of ``sizes``.
        sizes: units of each tile.
    """
    whole = sum(sizes)
    if not whole:
        return [0] * len(sizes)
    out = [total * size // whole for size in sizes]
    rests = [(-(total * size % whole), i) for i, size in enumerate(sizes)]
    for _, i in sorted(rests)[: total - sum(out)]:
        out[i] += 1
    return out


def column_index(lengths: Sequence[int], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Index (B, N) into a flat list of rows, right-aligned to the longest, and its validity (B, N) bool."""
    counts = torch.tensor(list(lengths), device=device)
    width = int(counts.max()) if len(lengths) else 0
    starts = counts.cumsum(0) - counts
    column = torch.arange(width, device=device)[None] - (width - counts)[:, None]
    valid = column >= 0
    return torch.where(valid, column + starts[:, None], 0), valid
