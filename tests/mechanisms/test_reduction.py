"""Reduction is a sparse matrix: every operation equals the dense one."""

from __future__ import annotations

import pytest
import torch

from autotc.errors import MechanismError
from autotc.mechanisms import Reduction, target_count, top_mask

from .kit import item, stack


def dense(reduction: Reduction) -> torch.Tensor:
    """(B, M, N)."""
    b, m = reduction.keep.shape
    out = torch.zeros(b, m, reduction.size)
    return out.index_put_((reduction.row, reduction.dst, reduction.src), reduction.weight, accumulate=True)


def ragged(seed: int, n: int = 12) -> tuple[torch.Tensor, torch.Generator]:
    """Validity of three rows, right-aligned."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.tensor([n, n - 5, 3])
    return torch.arange(n)[None] >= n - count[:, None], generator


def some(valid: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mask of a few valid tokens of each row, at least one."""
    count = (valid.sum(1) * torch.rand(len(valid), generator=generator)).long().clamp_min(1)
    return top_mask(torch.rand(valid.shape, generator=generator), count, valid)


def any_reduction(kind: str, valid: torch.Tensor, generator: torch.Generator) -> Reduction:
    mask = some(valid, generator)
    if kind == "select":
        return Reduction.select(mask)
    if kind == "merge":
        score = torch.rand(valid.shape[0], valid.shape[1], valid.shape[1], generator=generator)
        target = score.masked_fill(~mask[:, None], -1).argmax(-1)
        target = torch.where(mask, torch.arange(valid.shape[1]), target)
        target = target.masked_fill(torch.rand(valid.shape, generator=generator) < 0.2, -1)
        target = torch.where(mask, torch.arange(valid.shape[1]), target).masked_fill(~valid, -1)
        return Reduction.merge(mask, target, torch.rand(valid.shape, generator=generator) + 0.5)
    count = mask.sum(1)
    row, src = valid.nonzero(as_tuple=True)
    row, src = torch.cat([row, row]), torch.cat([src, src])  # every token in two paths
    dst = (torch.rand(len(row), generator=generator) * count[row]).long()
    edges = torch.unique(torch.stack([row, src, dst]), dim=1)
    return Reduction.linear(mask, *edges, torch.randn(edges.shape[1], generator=generator))


KINDS = ["select", "merge", "linear"]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_apply_is_the_matrix_product(kind: str, seed: int) -> None:
    valid, generator = ragged(seed)
    reduction = any_reduction(kind, valid, generator)
    x = torch.randn(3, 12, 5, generator=generator)
    assert torch.allclose(reduction.apply(x), dense(reduction) @ x, atol=1e-5)
    assert reduction.apply(x.view(3, 12, 5, 1)).shape == (*reduction.keep.shape, 5, 1)
    assert (reduction.keep >= 0).sum(1).tolist() == reduction.count.tolist()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_composition_is_the_product_of_matrices(first: str, second: str, seed: int) -> None:
    valid, generator = ragged(seed)
    a = any_reduction(first, valid, generator)
    b = any_reduction(second, a.keep >= 0, generator)
    both = a.then(b)
    assert torch.allclose(dense(both), dense(b) @ dense(a), atol=1e-5)
    assert both.size == 12
    assert both.count.tolist() == b.count.tolist()
    for row in range(3):
        inner = [int(a.keep[row, k]) for k in b.keep[row].tolist() if k >= 0]
        assert [k for k in both.keep[row].tolist() if k >= 0] == inner
    if first == second == "select":
        x = torch.randn(3, 12, 5, generator=generator).bfloat16()
        assert both.is_selection
        assert torch.equal(both.apply(x), b.apply(a.apply(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_merged_stays_bit_equal(dtype: torch.dtype) -> None:
    valid, generator = ragged(0)
    x = (torch.randn(3, 12, 5, generator=generator) * 1e3).to(dtype)
    chosen = some(valid, generator)
    kept = Reduction.select(chosen).apply(x)
    for row in range(3):
        assert torch.equal(kept[row][-int(chosen[row].sum()) :], x[row][chosen[row]])
    target = torch.arange(12).expand(3, 12).clone()
    target[:, 10] = 11
    mask = valid.clone()
    mask[:, 10] = False
    merged = Reduction.merge(mask, target.masked_fill(~valid, -1), torch.full((3, 12), 0.3))
    assert not merged.is_selection
    assert torch.equal(merged.apply(x)[0, :10], x[0, :10])
    assert merged.apply(x).dtype == dtype
    assert torch.equal(Reduction.identity(valid).apply(x)[0], x[0])


def test_two_tokens_on_one_survivor_and_none_on_another_is_no_selection() -> None:
    mask = torch.tensor([[True, True]])
    row, src, dst = torch.tensor([[0, 0], [0, 1], [0, 0]])
    reduction = Reduction.linear(mask, row, src, dst, torch.ones(2))
    assert not reduction.is_selection
    assert reduction.apply(torch.tensor([[[1.0], [2.0]]]))[0, :, 0].tolist() == [3.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_mass_is_conserved(kind: str) -> None:
    for seed in range(20):
        valid, generator = ragged(seed)
        mass = (torch.rand(valid.shape, generator=generator) + 0.5) * valid
        kept, lost = any_reduction(kind, valid, generator).mass(mass)
        assert torch.allclose(kept.sum(1) + lost, mass.sum(1), atol=1e-4)


def test_merge_by_hand() -> None:
    mask = torch.tensor([[False, True, True, False]])
    target = torch.tensor([[1, 1, 2, -1]])
    reduction = Reduction.merge(mask, target, torch.tensor([[3.0, 1.0, 1.0, 1.0]]))
    assert reduction.keep.tolist() == [[1, 2]]
    assert reduction.apply(torch.tensor([[[4.0], [8.0], [1.0], [9.0]]]))[0, :, 0].tolist() == [5.0, 1.0]
    mass, lost = reduction.mass(torch.tensor([[3.0, 1.0, 1.0, 1.0]]))
    assert mass.tolist() == [[4.0, 1.0]]
    assert lost.tolist() == [1.0]
    with pytest.raises(MechanismError, match="does not survive"):
        Reduction.merge(mask, torch.tensor([[0, 1, 2, 3]]), torch.ones(1, 4))


def test_reduce_keeps_positions_and_joins_boxes() -> None:
    tokens = stack([item((1, 2, 3), 4, 0), item((1, 1, 4), 4, 1, pad=2)])
    target = torch.tensor([[0, 0, 2, 0, 4, 4], [-1, -1, 2, 2, 2, 5]])
    mask = torch.tensor([[1, 0, 1, 0, 1, 0], [0, 0, 1, 0, 0, 1]]).bool()
    out = Reduction.merge(mask, target, tokens.mass).reduce(tokens)
    assert out.valid.tolist() == [[True, True, True], [False, True, True]]
    assert out.grid[0].tolist() == [[0, 0, 0], [0, 0, 2], [0, 1, 1]]
    assert out.mass.tolist() == [[3.0, 1.0, 2.0], [0.0, 3.0, 1.0]]
    assert out.box[0, 0].tolist() == [0, 1, 0, 2, 0, 2]
    assert out.box[0, 2].tolist() == [0, 1, 1, 2, 1, 3]
    assert out.box[1, 1].tolist() == [0, 1, 0, 1, 0, 3]
    assert out.box[1, 0].tolist() == [0] * 6
    assert torch.allclose(out.features[0, 0], tokens.features[0, [0, 1, 3]].mean(0), atol=1e-6)
    assert torch.isfinite(out.features).all(), "padding is not read"


def test_composition_needs_matching_sizes() -> None:
    with pytest.raises(MechanismError, match="takes 5 tokens, not 3"):
        Reduction.identity(torch.ones(1, 3).bool()).then(Reduction.identity(torch.ones(1, 5).bool()))


def test_one_rounding_rule() -> None:
    assert [target_count(r, 10, 10) for r in (0.01, 0.25, 0.35, 0.5, 1.0)] == [1, 3, 4, 5, 10]
    assert target_count(0.5, 10, 3) == 3
    assert target_count(0.1 * 3, 10, 10) == 3


def test_top_mask_breaks_ties_by_order_and_survives_nan() -> None:
    score = torch.tensor([[1.0, torch.nan, 1.0, 1.0], [torch.nan] * 4])
    valid = torch.tensor([[True] * 4, [False, True, True, True]])
    assert top_mask(score, torch.tensor([2, 2]), valid).tolist() == [
        [True, False, True, False],
        [False, True, True, False],
    ]
