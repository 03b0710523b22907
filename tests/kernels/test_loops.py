"""Loops in one launch, run by Triton's interpreter, beside the same loops in tensor operators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from autotc.kernels import Cosine, Distance, Euclidean, Manhattan, Table, farthest, farthest_first, greedy_map
from autotc.kernels.determinantal import greedy_map_loop
from autotc.kernels.device import in_one_launch
from autotc.kernels.farthest import farthest_first_loop


@pytest.fixture(autouse=True)
def launched() -> Iterator[None]:
    """Loops run in one launch here."""
    with torch.inference_mode():
        assert in_one_launch(torch.ones(1, 1))
        yield


def ragged(counts: tuple[int, ...], width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Unit features (B, N, D), right-aligned, and which are valid."""
    n = max(counts)
    valid = torch.arange(n) >= n - torch.tensor(counts)[:, None]
    features = torch.randn(len(counts), n, width, generator=torch.Generator().manual_seed(seed))
    features = features / features.norm(dim=2, keepdim=True)
    return features.masked_fill(~valid[..., None], 0.0), valid


ROWS = [(1,), (7,), (16,), (61,), (40, 3, 64), (1, 33)]


@pytest.mark.parametrize("counts", ROWS)
@pytest.mark.parametrize("kind", ["cosine", "euclidean", "manhattan", "table"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_farthest_are_the_same(counts: tuple[int, ...], kind: str, weighted: bool, share: float) -> None:
    features, valid = ragged(counts, 8, sum(counts))
    budget = (torch.tensor(counts) * share).ceil().long()
    table = (features[:, :, None] - features[:, None]).square().sum(3)
    grid = torch.stack([torch.arange(valid.shape[1]) // 5, torch.arange(valid.shape[1]) % 5], 1).float()
    distances: dict[str, Distance] = {
        "cosine": Cosine(features),
        "euclidean": Euclidean(features),
        "manhattan": Manhattan(grid.expand(len(counts), -1, -1)),
        "table": Table(table),
    }
    chosen = torch.zeros_like(valid)
    chosen[:, -1] = budget > 1
    nearest = torch.where(chosen.any(1, keepdim=True), table[:, -1], torch.inf)
    weight = torch.rand(valid.shape, generator=torch.Generator().manual_seed(1)) if weighted else None
    start = chosen.clone()
    launched = farthest_first(distances[kind], nearest, chosen, budget, valid, weight)
    expected = farthest_first_loop(distances[kind], nearest, chosen, budget, valid, weight)
    assert torch.equal(launched, expected)
    assert launched.sum(1).tolist() == torch.maximum(budget, start.sum(1)).tolist()
    assert torch.equal(chosen, start)  # what was given stays


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    features, valid = ragged((40, 3), 8, 0)
    distance, budget = Cosine(features), torch.tensor([9, 2])
    monkeypatch.setattr(distance, "table", lambda: pytest.fail("it was made"))
    monkeypatch.setattr(farthest, "LARGEST", 4 * 2 * 40 * 40 - 1)
    nearest = torch.full((2, 40), torch.inf)
    chosen = farthest_first(distance, nearest, torch.zeros_like(valid), budget, valid)
    assert chosen.sum(1).tolist() == [9, 2]


def test_ties_go_to_the_earlier_token() -> None:
    table = torch.ones(1, 20, 20)
    valid = torch.arange(20)[None] >= 3
    nearest, none = torch.full((1, 20), torch.inf), torch.zeros_like(valid)
    chosen = farthest_first(Table(table), nearest, none, torch.tensor([4]), valid)
    assert chosen[0].nonzero().flatten().tolist() == [3, 4, 5, 6]
    chosen = greedy_map(torch.eye(20)[None], torch.ones(1, 20), torch.tensor([4]), valid)
    assert chosen[0].nonzero().flatten().tolist() == [3, 4, 5, 6]


def test_what_is_not_a_number_comes_first_and_the_count_holds() -> None:
    features, valid = ragged((9,), 4, 0)
    features[0, 5] = torch.nan
    unknown = torch.full((1, 9), torch.inf)
    arguments = (Cosine(features), unknown, torch.zeros_like(valid), torch.tensor([4]), valid)
    launched = farthest_first(*arguments)
    assert launched.sum() == 4
    assert torch.equal(launched, farthest_first_loop(*arguments, None))


@pytest.mark.parametrize("counts", ROWS)
@pytest.mark.parametrize("width", [4, 64])  # at 4, what is left soon lies in the span of what was chosen
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_determinant_is_raised_by_the_same(counts: tuple[int, ...], width: int, share: float) -> None:
    features, valid = ragged(counts, width, sum(counts))
    preference = torch.rand(valid.shape, generator=torch.Generator().manual_seed(2)).masked_fill(~valid, 0.0)
    kernel = preference[:, :, None] * torch.bmm(features, features.mT) * preference[:, None]
    budget = (torch.tensor(counts) * share).ceil().long()
    launched = greedy_map(kernel, preference, budget, valid)
    assert torch.equal(launched, greedy_map_loop(kernel, preference, budget, valid))
    assert launched.sum(1).tolist() == budget.tolist()
