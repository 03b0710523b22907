"""Every mechanism against cases computed by hand and a slow NumPy reference on 100 seeded inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from autotc.mechanisms import MECHANISMS, Score, build_mechanism
from autotc.vocabulary import Modality

from .kit import Case, Grid, given, item, rows, scores

ROWS = rows()
SEEDS = range(100)
BY_HAND = [(name, i) for name, row in sorted(ROWS.items()) for i in range(len(row.cases))]


def draw(modalities: tuple[Modality, ...], seed: int) -> tuple[Grid, int]:
    """A grid of one of the modalities and a budget."""
    random = np.random.default_rng(seed)
    t, y, x = (int(random.integers(1, top)) for top in (7, 4, 4))
    modality = modalities[seed % len(modalities)]
    grid = {"image": (1, t, y * x), "video": (t, y, x), "audio": (t * y * x, 1, 1)}[modality]
    return grid, int(random.integers(1, t * y * x + 1))


@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize("name", [name for name, row in sorted(ROWS.items()) if row.reference is not None])
def test_reference(name: str, pad: int) -> None:
    row, cls = ROWS[name], MECHANISMS[name]
    assert row.reference is not None
    for seed in SEEDS:
        grid, m = draw(cls.modalities, seed)
        params = row.params[seed % len(row.params)]
        tokens = item(grid, row.width, seed, pad=pad)
        scored = scores(tokens, seed)
        expected = row.reference(given(tokens, grid, scored, params), m)
        needed = {score: values for score, values in scored.items() if score in cls.needs}
        reduction = build_mechanism(name, params).reduce(tokens, torch.tensor([m]), needed)
        kept, features = expected if isinstance(expected, tuple) else (expected, None)
        assert [k - pad for k in reduction.keep[0].tolist()] == kept, (seed, grid, m)
        if features is None:
            assert reduction.is_selection
        else:
            merged = reduction.apply(tokens.features)[0].double().numpy()
            assert np.abs(merged - features).max() < 1e-5, (seed, grid, m)


@pytest.mark.parametrize(("name", "index"), BY_HAND)
def test_by_hand(name: str, index: int) -> None:
    case: Case = ROWS[name].cases[index]
    grid = case.grid or (len(case.x), 1, 1)
    tokens = dataclasses.replace(item(grid, len(case.x[0]), 0), features=torch.tensor(case.x)[None])
    if case.mass is not None:
        tokens = dataclasses.replace(tokens, mass=torch.tensor([case.mass]))
    scored: dict[Score, torch.Tensor] = {score: torch.tensor(values)[None] for score, values in case.scores.items()}
    reduction = build_mechanism(name, case.params).reduce(tokens, torch.tensor([case.m]), scored)
    assert reduction.keep[0].tolist() == case.kept
    expected = case.merged if case.merged is not None else [case.x[k] for k in case.kept]
    assert np.allclose(reduction.apply(tokens.features)[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_something_is_computed_by_hand(name: str) -> None:
    assert ROWS[name].cases or MECHANISMS[name].family == "control"
