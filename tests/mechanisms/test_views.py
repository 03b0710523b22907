"""Images of several views: a thumbnail, and the tiles of the whole."""

from __future__ import annotations

import itertools

import pytest
import torch

from autotc.mechanisms import Score, Tokens, build_mechanism

from .kit import given
from .rows.globalcom2 import reference


def image(side: int, rows: int, columns: int) -> Tokens:
    """A thumbnail of side x side, then a grid of rows x columns."""
    places = [(0, y, x) for y, x in itertools.product(range(side), range(side))]
    places += [(1, y, x) for y, x in itertools.product(range(rows), range(columns))]
    n = len(places)
    grid, box = torch.tensor([places]), torch.zeros(1, n, 6)
    return Tokens(torch.ones(1, n, 4), torch.ones(1, n, dtype=torch.bool), grid, box, torch.ones(1, n))


@pytest.mark.parametrize(("side", "rows", "columns"), [(4, 8, 8), (4, 7, 8), (3, 3, 6), (2, 6, 2), (4, 3, 9)])
def test_a_thumbnail_guides_its_tiles(side: int, rows: int, columns: int) -> None:
    tokens = image(side, rows, columns)
    n = int(tokens.count)
    for seed, params in itertools.product(range(5), ({}, {"temperature": 0.02})):
        attention = torch.rand(1, n, generator=torch.Generator().manual_seed(seed))
        scored: dict[Score, torch.Tensor] = {"cls_attention": attention}
        for m in (1, n // 4, n // 2, n):
            kept = build_mechanism("globalcom2", params).reduce(tokens, torch.tensor([m]), scored).keep[0].tolist()
            assert kept == reference(given(tokens, (1, 1, n), scored, params), m)


def test_a_tile_that_the_thumbnail_shows_to_matter_keeps_more() -> None:
    tokens = image(2, 4, 4)
    attention = torch.full((1, 20), 0.01)
    attention[0, 3] = 1.0
    kept = build_mechanism("globalcom2", {"temperature": 0.1}).reduce(
        tokens, torch.tensor([10]), {"cls_attention": attention}
    )
    at = tokens.grid[0, kept.keep[0]]
    tiles = at[at[:, 0] == 1][:, 1:] // 2
    counts = [int(((tiles[:, 0] == y) & (tiles[:, 1] == x)).sum()) for y in (0, 1) for x in (0, 1)]
    # Shares 0.75 of 1 for the three others and 1.75 for the last, and 1 for the thumbnail: of 10 tokens 1.5, 1.5, 1.5,
    # 3.5 and 2; the two largest remainders that come first round up.
    assert counts == [2, 2, 1, 3]
