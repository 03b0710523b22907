"""What the grid decides: strides, boxes of pooling, target grids of downsampling, floors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from autotc.mechanisms import Reduction, Tokens, build_mechanism
from autotc.vocabulary import MODALITIES, Modality

from .kit import Array, Grid, item


def reduce(name: str, tokens: Tokens, m: int, params: Mapping[str, object] | None = None) -> Reduction:
    """Of a mechanism that needs no scores."""
    return build_mechanism(name, params).reduce(tokens, torch.tensor([m]), {})


def test_uniform_stride() -> None:
    for n in range(1, 30):
        tokens = item((n, 1, 1), 2, 0)
        for m in range(1, n + 1):
            kept = reduce("uniform_stride", tokens, m).keep[0].tolist()
            assert kept == [-(-i * n // m) for i in range(m)]  # the first token of each of m near-equal runs
    assert reduce("uniform_stride", item((12, 1, 1), 2, 0), 4).keep[0].tolist() == [0, 3, 6, 9]


def boxes(reduction: Reduction) -> list[set[int]]:
    """The tokens that flow into each survivor."""
    out: list[set[int]] = [set() for _ in range(reduction.keep.shape[1])]
    for src, dst in zip(reduction.src.tolist(), reduction.dst.tolist(), strict=True):
        out[dst].add(src)
    return out


def pooled(x: Array, grid: Grid, m: int) -> Array:
    """Only where grid and budget divide evenly: the mean of boxes, frames kept."""
    frames, rows, columns = grid
    side = round((rows * columns * frames / m) ** 0.5)
    cells = x.reshape(frames, rows // side, side, columns // side, side, -1)
    return np.asarray(cells.mean((2, 4)).reshape(m, -1))


@pytest.mark.parametrize(
    ("grid", "m"), [((1, 4, 6), 6), ((1, 6, 6), 4), ((3, 4, 4), 12), ((2, 4, 4), 32), ((1, 8, 8), 16)]
)
def test_avg_pool_is_adaptive_pooling_where_it_divides(grid: Grid, m: int) -> None:
    tokens = item(grid, 8, 1)
    features = reduce("avg_pool", tokens, m).apply(tokens.features)[0].double().numpy()
    expected = pooled(tokens.features[0].double().numpy(), grid, m)
    order = np.lexsort(features.T), np.lexsort(expected.T)  # survivors stand by their centres, boxes by their corners
    assert np.abs(features[order[0]] - expected[order[1]]).max() < 1e-5


@pytest.mark.parametrize("grid", [(1, 5, 7), (3, 4, 3), (17, 1, 1), (2, 1, 9)])
def test_avg_pool_partitions_the_grid_into_boxes(grid: Grid) -> None:
    tokens = item(grid, 2, 0)
    places = tokens.grid[0].numpy()
    n = len(places)
    for m in range(1, n + 1):
        reduction = reduce("avg_pool", tokens, m)
        groups = boxes(reduction)
        assert sorted(src for group in groups for src in group) == list(range(n))
        for dst, group in enumerate(groups):
            extent = np.ptp(places[sorted(group)], axis=0) + 1
            assert extent.prod() == len(group), "a box has no gaps"
            assert int(reduction.keep[0, dst]) in group
        areas = [len(group) for group in groups]
        assert max(areas) <= 4 * min(areas)
    assert reduce("avg_pool", item((1, 2, 2), 1, 0), 1).keep[0].tolist() == [0]


@pytest.mark.parametrize("modality", MODALITIES)
def test_downsample_target_grid(modality: Modality) -> None:
    grid: Grid = {"image": (1, 24, 36), "video": (8, 12, 16), "audio": (750, 1, 1)}[modality]
    mechanism = build_mechanism("downsample")
    target_grid = mechanism.target_grid  # type: ignore[attr-defined]
    assert target_grid(grid, 1.0, modality) == grid
    for keep in (0.01, 0.1, 0.25, 0.5, 0.9):
        t, y, x = target_grid(grid, keep, modality)
        assert 1 <= t <= grid[0]
        assert 1 <= y <= grid[1]
        assert 1 <= x <= grid[2]
        assert abs(t * y * x / (grid[0] * grid[1] * grid[2]) - keep) < 0.02
        if modality == "audio":
            assert (y, x) == (1, 1)
        else:
            assert t == grid[0]
            assert abs(y * grid[2] - x * grid[1]) <= max(grid[1:])  # within one row or column of the aspect
    time = build_mechanism("downsample", {"axis": "time"})
    assert time.target_grid((8, 12, 16), 0.5, "video") == (4, 12, 16)  # type: ignore[attr-defined]
    assert mechanism.target_grid((1, 24, 24), 0.25, "image") == (1, 12, 12)  # type: ignore[attr-defined]
    assert mechanism.choice([16, 9, 4, 1], 0.25) == 2  # type: ignore[attr-defined]
