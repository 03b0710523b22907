"""One matrix: every mechanism x location x modality x dtype x batch x shape keeps the contract.

Pairwise in the default run, whole with ``-m full``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from allpairspy import AllPairs
from torch.utils.flop_counter import FlopCounterMode

from autotc.errors import MechanismError
from autotc.mechanisms import MECHANISMS, InputMechanism, Mechanism, Reduction, Score, Tokens, Work, build_mechanism
from autotc.mechanisms.registry import by_name
from autotc.vocabulary import Location, Modality

from .kit import OF_TEXT, SHAPES, TEXT, Grid, item, rows, scores, stack, stack_scores

ROWS = rows()
CASES = [
    (name, modality, location)
    for name, cls in sorted(MECHANISMS.items())
    for modality in cls.modalities
    for location in cls.locations
    if location != "input"
]
DTYPES = [torch.float32, torch.bfloat16]
BATCHES = [1, 3]
KINDS = ["random", "constant", "zero", "padded"]
RATIOS = [1e-9, 0.3, 0.6, 1.0]
SHAPE_NAMES = ["one", "two", "strip", "frame", "grid", "square"]


def axes(everything: bool) -> list[tuple[object, ...]]:
    """Combinations of case, dtype, batch and shape."""
    values = [list(range(len(CASES))), DTYPES, BATCHES, SHAPE_NAMES]
    chosen = itertools.product(*values) if everything else map(tuple, AllPairs(values))
    return [c for c in chosen if c[3] in SHAPES[CASES[int(str(c[0]))][1]]]


def label(value: object) -> str:
    return "-".join(CASES[value]) if isinstance(value, int) and value > 3 else str(value).replace("torch.", "")


def thinned(tokens: Tokens, given: dict[Score, torch.Tensor], seed: int) -> tuple[Tokens, dict[Score, torch.Tensor]]:
    """The item after an earlier stage dropped a third of its tokens: no full grid, uneven masses."""
    n = int(tokens.count)
    generator = torch.Generator().manual_seed(seed)
    pad = tokens.valid.shape[1] - n
    stay = torch.randperm(n, generator=generator)[: max(1, n - n // 3)].sort().values + pad
    stay = torch.cat([torch.arange(pad), stay])
    kept = Tokens(*(v[:, stay] for v in (tokens.features, tokens.valid, tokens.grid, tokens.box, tokens.mass)))
    mass = torch.where(kept.valid, 1.0 + torch.rand(kept.mass.shape, generator=generator), 0.0)
    return dataclasses.replace(kept, mass=mass), {k: v if k in OF_TEXT else v[:, stay] for k, v in given.items()}


def make(
    case: tuple[str, Modality, Location], grid: Grid, seed: int, kind: str, dtype: torch.dtype, pad: int
) -> tuple[Tokens, dict[Score, torch.Tensor]]:
    """An item with just the scores that the mechanism asks for."""
    name, _, location = case
    cls = MECHANISMS[name]
    tokens = item(grid, 8, seed, dtype, pad)
    given = {score: values for score, values in scores(tokens, seed).items() if score in cls.needs}
    if kind in ("constant", "zero"):
        value = 1.0 if kind == "constant" else 0.0
        tokens = dataclasses.replace(tokens, features=torch.full_like(tokens.features, value))
        given = {score: torch.full_like(values, value) for score, values in given.items()}
    if location == "decoder" and not cls.uses_grid:
        tokens, given = thinned(tokens, given, seed)
    return tokens, given


def budget_of(ratio: float, n: int) -> int:
    return max(1, math.floor(ratio * n + 0.5))


def check(tokens: Tokens, budget: torch.Tensor, reduction: Reduction, mechanism: Mechanism) -> None:
    row = ROWS[mechanism.name]
    assert reduction.size == tokens.valid.shape[1]
    if mechanism.adaptive:
        assert (reduction.count >= 1).all()
        assert (reduction.count <= budget).all()
    else:
        assert reduction.count.tolist() == budget.tolist()
    for i in range(len(budget)):
        keep = reduction.keep[i]
        present = keep >= 0
        assert present.tolist() == sorted(present.tolist()), "padding stands on the left"
        assert (keep[present].diff() > 0).all()
        assert tokens.valid[i, keep[present]].all()
    assert tokens.valid[reduction.row, reduction.src].all()
    assert (reduction.keep[reduction.row, reduction.dst] >= 0).all()
    features = reduction.apply(tokens.features)
    assert features.dtype == tokens.features.dtype
    assert torch.isfinite(features).all()
    assert torch.isfinite(reduction.weight).all()
    if row.averages:
        sums = torch.zeros(reduction.keep.shape).index_put_((reduction.row, reduction.dst), reduction.weight, True)
        assert torch.allclose(sums, (reduction.keep >= 0).float(), atol=1e-5)
    mass, lost = reduction.mass(tokens.mass)
    assert torch.allclose(mass.sum(1) + lost, tokens.mass.sum(1), rtol=1e-5, atol=1e-4)
    if row.conserves:
        assert lost.abs().max() == 0
    reduced = reduction.reduce(tokens)
    assert torch.equal(reduced.valid, reduction.keep >= 0)
    assert torch.isfinite(reduced.box).all()


def one(
    case: tuple[str, Modality, Location], grid: Grid, dtype: torch.dtype, params: Mapping[str, object], seed: int
) -> None:
    """Every kind of features at every ratio, one item."""
    mechanism = build_mechanism(case[0], params)
    for kind in KINDS:
        tokens, given = make(case, grid, seed, kind, dtype, 3 if kind == "padded" else 0)
        n = int(tokens.count)
        for m in sorted({budget_of(ratio, n) for ratio in RATIOS}):
            budget = torch.tensor([m])
            reduction = mechanism.reduce(tokens, budget, given)
            check(tokens, budget, reduction, mechanism)
            again = mechanism.reduce(tokens, budget, given)
            assert torch.equal(reduction.keep, again.keep)
            assert torch.equal(reduction.weight, again.weight)
            if m == n and not mechanism.adaptive:
                assert reduction.is_selection
                assert torch.equal(reduction.apply(tokens.features)[0], tokens.features[0, -n:])


def three(
    case: tuple[str, Modality, Location], grid: Grid, dtype: torch.dtype, params: Mapping[str, object], seed: int
) -> None:
    """Rows of a ragged batch come out as they do alone."""
    mechanism = build_mechanism(case[0], params)
    grids = [grid, *list(SHAPES[case[1]].values())[-2:]]
    longest = max(math.prod(g) for g in grids)
    longest_thinned = longest - longest // 3
    singles = [make(case, g, seed + i, "random", dtype, 0) for i, g in enumerate(grids)]
    width = longest_thinned if case[2] == "decoder" and not MECHANISMS[case[0]].uses_grid else longest

    def padded(tokens: Tokens, given: dict[Score, torch.Tensor]) -> tuple[Tokens, dict[Score, torch.Tensor]]:
        pad = width - tokens.valid.shape[1]

        def left(values: torch.Tensor, fill: float) -> torch.Tensor:
            return torch.cat([values.new_full((1, pad, *values.shape[2:]), fill), values], 1)

        whole = Tokens(
            left(tokens.features, torch.nan),
            left(tokens.valid, False),
            left(tokens.grid, 0),
            left(tokens.box, 0),
            left(tokens.mass, 0),
        )
        return whole, {k: v if k in OF_TEXT else left(v, torch.nan) for k, v in given.items()}

    parts = [padded(*single) for single in singles]
    batch, given = stack([p[0] for p in parts]), stack_scores([p[1] for p in parts])
    for ratio in RATIOS:
        budget = torch.tensor([budget_of(ratio, int(t.count)) for t, _ in singles])
        together = mechanism.reduce(batch, budget, given)
        check(batch, budget, together, mechanism)
        for i, (tokens, own) in enumerate(singles):
            alone = mechanism.reduce(tokens, budget[i : i + 1], own)
            m = int(alone.count)
            offset = width - tokens.valid.shape[1]
            assert int(together.count[i]) == m
            assert (together.keep[i, -m:] - offset).tolist() == alone.keep[0].tolist()
            mine, theirs = together.apply(batch.features)[i, -m:], alone.apply(tokens.features)[0]
            assert torch.allclose(mine.float(), theirs.float(), rtol=1e-3, atol=1e-5)


def run(case: int, dtype: torch.dtype, batch: int, shape: str) -> None:
    name, modality, _ = CASES[case]
    for seed, params in enumerate(ROWS[name].params):
        check_one = one if batch == 1 else three
        check_one(CASES[case], SHAPES[modality][shape], dtype, params, seed)


@pytest.mark.parametrize(("case", "dtype", "batch", "shape"), axes(everything=False), ids=label)
def test_contract(case: int, dtype: torch.dtype, batch: int, shape: str) -> None:
    run(case, dtype, batch, shape)


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPE_NAMES)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_contract_whole(case: tuple[str, Modality, Location], shape: str) -> None:
    if shape in SHAPES[case[1]]:
        for dtype, batch in itertools.product(DTYPES, BATCHES):
            run(CASES.index(case), dtype, batch, shape)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_flops_are_what_is_multiplied(case: tuple[str, Modality, Location]) -> None:
    name, modality, _ = case
    for params in ROWS[name].params:
        mechanism = build_mechanism(name, params)
        for seed, grid in enumerate(SHAPES[modality].values()):
            tokens = item(grid, 8, seed)
            given = {score: values for score, values in scores(tokens, seed).items() if score in mechanism.needs}
            n, k = int(tokens.count), 6 if {"keys", "values"} & {*mechanism.needs} else 8
            for m in sorted({budget_of(ratio, n) for ratio in RATIOS}):
                with FlopCounterMode(display=False) as counter:
                    mechanism.reduce(tokens, torch.tensor([m]), given)
                counted = counter.get_total_flops()
                declared = mechanism.flops(Work(n, m, 8, k, grid[0], TEXT + 1))
                if ROWS[name].exact_flops:
                    assert counted == declared, (grid, m)
                else:
                    assert counted <= declared, (grid, m)
            for ratio in RATIOS:
                assert 1 <= mechanism.target(ratio, n, n, grid) <= n


@pytest.mark.parametrize("case", [c for c in CASES if ROWS[c[0]].permutes], ids="-".join)
def test_reordered_tokens_are_kept_alike(case: tuple[str, Modality, Location]) -> None:
    name, modality, _ = case
    for seed in range(10):
        for params in ROWS[name].params:
            mechanism = build_mechanism(name, params)
            tokens = item(SHAPES[modality]["grid"], 8, seed)
            given = {score: values for score, values in scores(tokens, seed).items() if score in mechanism.needs}
            n = int(tokens.count)
            order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
            moved = Tokens(
                *(v[:, order] for v in (tokens.features, tokens.valid, tokens.grid, tokens.box, tokens.mass))
            )
            shuffled = {k: v if k in OF_TEXT else v[:, order] for k, v in given.items()}
            budget = torch.tensor([max(1, n // 3)])
            before = mechanism.reduce(tokens, budget, given)
            after = mechanism.reduce(moved, budget, shuffled)
            assert sorted(order[after.keep[0]].tolist()) == before.keep[0].tolist()
            back = order[after.keep[0]].argsort()
            mine, theirs = after.apply(moved.features)[0][back], before.apply(tokens.features)[0]
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_every_mechanism_that_reduces_tokens_has_its_row() -> None:
    assert sorted(ROWS) == sorted(name for name, cls in MECHANISMS.items() if issubclass(cls, Mechanism))


def test_what_reduces_no_tokens_acts_at_the_input_alone() -> None:
    for cls in MECHANISMS.values():
        assert issubclass(cls, InputMechanism) == (cls.locations == ("input",))
        assert issubclass(cls, InputMechanism) != issubclass(cls, Mechanism)


def test_a_name_is_given_once() -> None:
    class Second(MECHANISMS["divprune"]):  # type: ignore[misc]
        """Another class of the same name."""

    with pytest.raises(MechanismError, match="DivPrune and Second are both named 'divprune'"):
        by_name([*MECHANISMS.values(), Second])


def test_pooling_without_a_full_grid() -> None:
    tokens = item((1, 4, 4), 8, 0)
    part = Tokens(*(value[:, 3:] for value in (tokens.features, tokens.valid, tokens.grid, tokens.box, tokens.mass)))
    none: dict[Score, torch.Tensor] = {}
    for m in range(1, 14):
        assert build_mechanism("avg_pool").reduce(part, torch.tensor([m]), none).count.tolist() == [m]
