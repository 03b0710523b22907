"""One matrix: every mechanism x modality x dtype x shape keeps the contract."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autotc.mechanisms import MECHANISMS, Mechanism, Modality, Reduction, Score, Tokens, build_mechanism

from .reference import GRIDS, item, scores, stack, stack_scores

CASES = [
    (name, modality)
    for name, cls in sorted(MECHANISMS.items())
    if "input" not in cls.locations
    for modality in cls.modalities
]
DTYPES = [torch.float32, torch.bfloat16]
MERGING = {"tome", "a_tome", "avg_pool"}


def budgets(n: int) -> list[int]:
    return sorted({1, 2, n // 3, n // 2, n - 1, n} & set(range(1, n + 1)))


def check(tokens: Tokens, budget: torch.Tensor, reduction: Reduction, mechanism: Mechanism) -> None:
    assert reduction.size == tokens.valid.shape[1]
    assert reduction.count.tolist() == budget.tolist()
    for row in range(len(budget)):
        keep = reduction.keep[row]
        present = keep >= 0
        assert present.tolist() == sorted(present.tolist()), "padding stands on the left"
        assert (keep[present].diff() > 0).all()
        assert tokens.valid[row, keep[present]].all()
    assert tokens.valid[reduction.row, reduction.src].all()
    assert (reduction.keep[reduction.row, reduction.dst] >= 0).all()
    features = reduction.apply(tokens.features)
    assert features.dtype == tokens.features.dtype
    assert torch.isfinite(features).all()
    if mechanism.name != "visionzip":
        sums = torch.zeros(reduction.keep.shape).index_put_((reduction.row, reduction.dst), reduction.weight, True)
        assert torch.allclose(sums, (reduction.keep >= 0).float(), atol=1e-5)
    mass, lost = reduction.mass(tokens.mass)
    assert torch.allclose(mass.sum(1) + lost, tokens.mass.sum(1), atol=1e-4)
    if mechanism.name in MERGING:
        assert lost.abs().max() == 0
    reduced = reduction.reduce(tokens)
    assert torch.equal(reduced.valid, reduction.keep >= 0)
    assert torch.isfinite(reduced.box).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "modality"), CASES)
def test_single_items(name: str, modality: Modality, dtype: torch.dtype) -> None:
    mechanism = build_mechanism(name)
    for seed, grid in enumerate(GRIDS[modality]):
        for kind in ("random", "constant", "zero", "padded"):
            tokens = item(grid, 8, seed, dtype, pad=3 if kind == "padded" else 0)
            given = scores(tokens, seed)
            if kind in ("constant", "zero"):
                value = 1.0 if kind == "constant" else 0.0
                tokens = dataclasses.replace(tokens, features=torch.full_like(tokens.features, value))
                given = {score: torch.full_like(rows, value) for score, rows in given.items()}
            n = int(tokens.count)
            for m in budgets(n) if kind == "random" else sorted({1, n // 2 or 1, n}):
                budget = torch.tensor([m])
                reduction = mechanism.reduce(tokens, budget, given)
                check(tokens, budget, reduction, mechanism)
                again = mechanism.reduce(tokens, budget, given)
                assert torch.equal(reduction.keep, again.keep)
                assert torch.equal(reduction.weight, again.weight)
                if m == n:
                    assert reduction.is_selection
                    assert torch.equal(reduction.apply(tokens.features)[0], tokens.features[0, -n:])


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "modality"), CASES)
def test_rows_are_independent(name: str, modality: Modality, dtype: torch.dtype) -> None:
    mechanism = build_mechanism(name)
    grids = GRIDS[modality][-3:]
    sizes = [t * y * x for t, y, x in grids]
    longest = max(sizes)
    batch = stack(
        [item(grid, 8, i, dtype, pad=longest - n) for i, (grid, n) in enumerate(zip(grids, sizes, strict=True))]
    )
    parts = [scores(item(grid, 8, i, pad=longest - n), i) for i, (grid, n) in enumerate(zip(grids, sizes, strict=True))]
    given = stack_scores(parts)
    for share in (0.0, 0.3, 0.6, 1.0):
        budget = torch.tensor([max(1, int(share * n)) for n in sizes])
        together = mechanism.reduce(batch, budget, given)
        check(batch, budget, together, mechanism)
        for i, (grid, n) in enumerate(zip(grids, sizes, strict=True)):
            alone_tokens = item(grid, 8, i, dtype)
            alone = mechanism.reduce(alone_tokens, budget[i : i + 1], scores(alone_tokens, i))
            m = int(budget[i])
            assert (together.keep[i, -m:] - (longest - n)).tolist() == alone.keep[0].tolist()
            assert torch.allclose(
                together.apply(batch.features)[i, -m:].float(), alone.apply(alone_tokens.features)[0].float(), atol=1e-5
            )


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_flops_are_what_is_multiplied(name: str, modality: Modality) -> None:
    mechanism = build_mechanism(name)
    for seed, grid in enumerate(GRIDS[modality]):
        tokens = item(grid, 6, seed)  # as wide as the keys
        given = scores(tokens, seed)
        n = int(tokens.count)
        for m in budgets(n):
            with FlopCounterMode(display=False) as counter:
                mechanism.reduce(tokens, torch.tensor([m]), given)
            assert counter.get_total_flops() == mechanism.flops(n, m, 6), (grid, m)
        assert 1 <= mechanism.floor(grid) <= n


def test_registry_is_sorted_by_family() -> None:
    classes = list(MECHANISMS.values())
    assert [(c.family != "attention", c.family, c.name) for c in classes] == sorted(
        (c.family != "attention", c.family, c.name) for c in classes
    )


def test_pooling_without_a_full_grid() -> None:
    tokens = item((1, 4, 4), 8, 0)
    part = Tokens(*(value[:, 3:] for value in (tokens.features, tokens.valid, tokens.grid, tokens.box, tokens.mass)))
    none: dict[Score, torch.Tensor] = {}
    for m in range(1, 14):
        assert build_mechanism("avg_pool").reduce(part, torch.tensor([m]), none).count.tolist() == [m]
