"""Selectors and mergers against hand-computed cases and slow NumPy references."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from autotc.mechanisms import MODALITIES, Modality, Reduction, Score, Tokens, build_mechanism

from . import reference as ref
from .reference import Array, Grid

SEEDS = range(100)


def draw(seed: int) -> tuple[Grid, int]:
    """A grid and a budget."""
    random = np.random.default_rng(seed)
    grid = (int(random.integers(1, 7)), int(random.integers(1, 4)), int(random.integers(1, 4)))
    return grid, int(random.integers(1, grid[0] * grid[1] * grid[2] + 1))


def run(name: str, tokens: Tokens, m: int, scores: dict[Score, torch.Tensor]) -> tuple[list[int], Array]:
    reduction = build_mechanism(name).reduce(tokens, torch.tensor([m]), scores)
    return reduction.keep[0].tolist(), reduction.apply(tokens.features)[0].double().numpy()


def line(*rows: list[float]) -> Tokens:
    """A row of tokens with the given features."""
    tokens = ref.item((len(rows), 1, 1), len(rows[0]), 0)
    return dataclasses.replace(tokens, features=torch.tensor(rows)[None])


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values])


TOP: dict[str, Score] = {
    "fastv": "last_query_attention",
    "pyramiddrop": "last_query_attention",
    "rep_shift": "representation_shift",
    "text_similarity": "text_similarity",
}


@pytest.mark.parametrize("name", sorted(TOP))
def test_top_of_a_score(name: str) -> None:
    tokens = line([0.0], [0.0], [0.0], [0.0])
    assert run(name, tokens, 2, {TOP[name]: row(0.1, 0.4, 0.2, 0.4)})[0] == [1, 3]
    assert run(name, tokens, 1, {TOP[name]: row(0.1, 0.4, 0.2, 0.4)})[0] == [1]  # ties go to the earlier
    for seed in SEEDS:
        grid, m = draw(seed)
        tokens = ref.item(grid, 8, seed)
        scores = ref.scores(tokens, seed)
        assert run(name, tokens, m, scores)[0] == ref.top(scores[TOP[name]][0].double().numpy(), m)


Select = Callable[[Array, Grid, Array, int], list[int]]
SELECTORS: dict[str, Select] = {
    "divprune": lambda x, grid, text, m: ref.divprune(x, m),
    "cdpruner": lambda x, grid, text, m: ref.cdpruner(x, text, m),
    "evs": lambda x, grid, text, m: ref.evs(x, grid, m),
    "dyn_ttm": lambda x, grid, text, m: ref.dyn_ttm(x, grid, m),
}


@pytest.mark.parametrize("name", sorted(SELECTORS))
@pytest.mark.parametrize("pad", [0, 2])
def test_selectors_match_the_reference(name: str, pad: int) -> None:
    for seed in SEEDS:
        grid, m = draw(seed)
        tokens = ref.item(grid, 64, seed, pad=pad)  # wider than long, so that no gain of a DPP is spent
        scores = ref.scores(tokens, seed)
        x = tokens.features[0, pad:].double().numpy()
        expected = SELECTORS[name](x, grid, scores["text_similarity"][0, pad:].double().numpy(), m)
        assert [k - pad for k in run(name, tokens, m, scores)[0]] == expected, (seed, grid, m)


Merge = Callable[[Array, Array, Array, int], tuple[list[int], Array]]
MERGERS: dict[str, Merge] = {
    "tome": lambda attention, keys, x, m: ref.tome(keys, x, m),
    "a_tome": lambda attention, keys, x, m: ref.a_tome(keys, x, m),
    "visionzip": ref.visionzip,
}


@pytest.mark.parametrize("name", sorted(MERGERS))
@pytest.mark.parametrize("pad", [0, 2])
def test_mergers_match_the_reference(name: str, pad: int) -> None:
    for seed in SEEDS:
        grid, m = draw(seed)
        tokens = ref.item(grid, 8, seed, pad=pad)
        scores = ref.scores(tokens, seed)
        x = tokens.features[0, pad:].double().numpy()
        keys = scores["keys"][0, pad:].double().numpy()
        attention = scores["received_attention"][0, pad:].double().numpy()
        expected = MERGERS[name](attention, keys, x, m)
        kept, features = run(name, tokens, m, scores)
        assert [k - pad for k in kept] == expected[0], (seed, grid, m)
        assert np.abs(features - expected[1]).max() < 1e-5, (seed, grid, m)


def test_uniform_stride() -> None:
    for n in range(1, 30):
        tokens = ref.item((n, 1, 1), 2, 0)
        for m in range(1, n + 1):
            kept = run("uniform_stride", tokens, m, {})[0]
            assert kept == [-(-i * n // m) for i in range(m)]  # the first token of each of m near-equal runs
    assert run("uniform_stride", ref.item((12, 1, 1), 2, 0), 4, {})[0] == [0, 3, 6, 9]


def test_divprune_by_hand() -> None:
    # 3 is the loneliest; 1 points furthest from it; then 2 is further from both than 0, which is like 1.
    tokens = line([1.0, 0.0], [1.0, 0.3], [0.0, 1.0], [-1.0, -0.2])
    assert [run("divprune", tokens, m, {})[0] for m in (1, 2, 3, 4)] == [[3], [1, 3], [1, 2, 3], [0, 1, 2, 3]]


def test_cdpruner_by_hand() -> None:
    # 1 is the most relevant; 0 points the same way and adds no volume, so the less relevant 2 comes next.
    tokens = line([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
    scores: dict[Score, torch.Tensor] = {"text_similarity": row(0.9, 1.0, 0.5, 0.0)}
    # The plane is spanned after two: from then on relevance alone decides.
    assert [run("cdpruner", tokens, m, scores)[0] for m in (1, 2, 3)] == [[1], [1, 2], [0, 1, 2]]


def test_evs_by_hand() -> None:
    # Two places, three frames; only place 1 of frame 2 turns round.
    x = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.0, -1.0]]
    tokens = dataclasses.replace(ref.item((3, 1, 2), 2, 0), features=torch.tensor(x)[None])
    assert run("evs", tokens, 3, {})[0] == [0, 1, 5]
    assert run("evs", tokens, 4, {})[0] == [0, 1, 4, 5]
    assert run("evs", tokens, 1, {})[0] == [0]
    assert build_mechanism("evs").floor((3, 1, 2)) == 2


def test_dyn_ttm_by_hand() -> None:
    # Frame 2 is compared with frame 0, which it equals, and not with frame 1, from which it differs.
    x = [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.0], [1.0, 0.2]]
    tokens = dataclasses.replace(ref.item((4, 1, 2), 2, 0), features=torch.tensor(x)[None])
    assert run("dyn_ttm", tokens, 5, {})[0] == [0, 1, 2, 5, 7]  # one of each later frame, the most changed
    assert run("dyn_ttm", tokens, 2, {})[0] == [0, 1]
    assert build_mechanism("dyn_ttm").floor((5, 1, 2)) == 4


def test_tome_by_hand() -> None:
    # Evens 0 and 2, odds 1 and 3: 0 is like 3, so it flows there and takes its place.
    tokens = line([2.0, 0.0], [0.0, 2.0], [1.0, 5.0], [4.0, 0.0])
    scores: dict[Score, torch.Tensor] = {"keys": torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [1.0, 0.01]]])}
    kept, features = run("tome", tokens, 3, scores)
    assert kept == [1, 2, 3]
    assert features.tolist() == [[0.0, 2.0], [1.0, 5.0], [3.0, 0.0]]
    heavy = dataclasses.replace(tokens, mass=row(3.0, 1.0, 1.0, 1.0))
    assert run("tome", heavy, 3, scores)[1][2].tolist() == [2.5, 0.0]


def test_a_tome_by_hand() -> None:
    tokens = line([1.0], [3.0], [5.0], [9.0])
    scores: dict[Score, torch.Tensor] = {"keys": torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]])}
    assert run("a_tome", tokens, 3, scores)[1].tolist() == [[2.0], [5.0], [9.0]]
    assert run("a_tome", tokens, 2, scores)[1].tolist() == [[3.0], [9.0]]


def test_visionzip_by_hand() -> None:
    # With a share of a half, a budget of 3 is 2 dominant and 1 contextual token, at the first of the rest.
    tokens = line([1.0], [2.0], [4.0], [8.0], [16.0])
    scores: dict[Score, torch.Tensor] = {
        "received_attention": row(0.9, 0.1, 0.8, 0.2, 0.3),
        "keys": torch.ones(1, 5, 2),
    }
    mechanism = build_mechanism("visionzip", {"dominant_share": 0.5})
    reduction = mechanism.reduce(tokens, torch.tensor([3]), scores)
    assert reduction.keep.tolist() == [[0, 1, 2]]
    assert reduction.apply(tokens.features)[0, :, 0].tolist() == [1.0, 2.0 + (8.0 + 16.0) / 2, 4.0]
    assert run("visionzip", tokens, 1, scores)[0] == [0]


def boxes(reduction: Reduction) -> list[set[int]]:
    out: list[set[int]] = [set() for _ in range(reduction.keep.shape[1])]
    for src, dst in zip(reduction.src.tolist(), reduction.dst.tolist(), strict=True):
        out[dst].add(src)
    return out


@pytest.mark.parametrize(
    ("grid", "m"), [((1, 4, 6), 6), ((1, 6, 6), 4), ((3, 4, 4), 12), ((2, 4, 4), 32), ((1, 8, 8), 16)]
)
def test_avg_pool_is_adaptive_pooling_where_it_divides(grid: Grid, m: int) -> None:
    tokens = ref.item(grid, 8, 1)
    _, features = run("avg_pool", tokens, m, {})
    expected = ref.avg_pool(tokens.features[0].double().numpy(), grid, m)
    order = np.lexsort(features.T), np.lexsort(expected.T)  # survivors stand by their centres, boxes by their corners
    assert np.abs(features[order[0]] - expected[order[1]]).max() < 1e-5


@pytest.mark.parametrize("grid", [(1, 5, 7), (3, 4, 3), (17, 1, 1), (2, 1, 9)])
def test_avg_pool_partitions_the_grid_into_boxes(grid: Grid) -> None:
    tokens = ref.item(grid, 2, 0)
    places = tokens.grid[0].numpy()
    n = len(places)
    for m in range(1, n + 1):
        reduction = build_mechanism("avg_pool").reduce(tokens, torch.tensor([m]), {})
        groups = boxes(reduction)
        assert sorted(src for group in groups for src in group) == list(range(n))
        for dst, group in enumerate(groups):
            extent = np.ptp(places[sorted(group)], axis=0) + 1
            assert extent.prod() == len(group), "a box has no gaps"
            assert int(reduction.keep[0, dst]) in group
        areas = [len(group) for group in groups]
        assert max(areas) <= 4 * min(areas)
    kept = run("avg_pool", ref.item((1, 2, 2), 1, 0), 1, {})[0]
    assert kept == [0]


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
    tokens = ref.item((1, 4, 4), 4, 0)
    assert mechanism.reduce(tokens, torch.tensor([4]), {}).count.tolist() == [4]
