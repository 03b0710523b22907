"""Fitted schedules against cases computed by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest

from autotc.errors import PolicyError
from autotc.presets.fitting import fit_counts

RISING = [0.4, 0.3, 0.2, 0.1]
FALLING = [0.1, 0.2, 0.3, 0.4]


def test_drops_what_the_loss_allows() -> None:
    # A loss of 0.1 drops one token after the first layer, 0.3 two; nothing lies between.
    attention = [np.array([RISING] * 3)]
    assert fit_counts(attention, attention, 0.85) == [1.0, 0.75, 0.75]
    assert fit_counts(attention, attention, 0.8) == [1.0, 0.5, 0.5]
    assert fit_counts(attention, attention, 1.0) == [1.0, 1.0, 1.0]


def test_drops_where_both_are_low() -> None:
    # Up to a loss of 0.6 the sets are {3, 2} and {0, 1}; from there {3, 2, 1} and {0, 1, 2}.
    assert fit_counts([np.array([RISING] * 3)], [np.array([FALLING] * 3)], 0.85) == [1.0, 0.5, 0.5]


def test_later_layers_count_what_is_gone() -> None:
    # What was dropped counts against the next layer: token 3 had 0.7 of it, so that nothing more may go.
    attention = [np.array([RISING, [0.1, 0.1, 0.1, 0.7], RISING])]
    assert fit_counts(attention, attention, 0.85) == [1.0, 0.75, 0.75]
    # Where the dropped token had nothing to lose, the second layer drops the next one.
    attention = [np.array([RISING, [0.6, 0.35, 0.05, 0.0], RISING])]
    assert fit_counts(attention, attention, 0.8) == [1.0, 0.75, 0.5]


def test_averages_over_samples_of_any_length() -> None:
    # At a loss of 0.1 the first drops 1 of 4, the second, with half its attention on each, none of 2.
    attention = [np.array([RISING] * 2), np.array([[0.5, 0.5]] * 2)]
    assert fit_counts(attention, attention, 0.95) == [1.0, 0.875]


def test_stops_once_the_budget_is_met() -> None:
    # A loss of 0.1 drops one token after the first layer, which is enough; the fifth would spare two more.
    attention = [np.array([RISING] * 4 + [[0.95, 0.05, 0.0, 0.0], RISING])]
    assert fit_counts(attention, attention, 0.8) == [1.0, *[0.75] * 5]


@pytest.mark.parametrize("seed", range(10))
def test_every_schedule_meets_its_budget(seed: int) -> None:
    random = np.random.default_rng(seed)
    own = [random.random((12, n)) ** 4 for n in (40, 64)]
    cross = [random.random((12, n)) ** 4 for n in (40, 64)]
    before: list[float] | None = None
    for target in (0.2, 0.4, 0.6, 0.8):
        ratios = fit_counts(own, cross, target)
        assert ratios[0] == 1.0
        assert (np.diff(ratios) <= 0).all()
        assert target - 0.1 < np.mean(ratios) <= target
        assert before is None or np.mean(before) <= np.mean(ratios)
        before = ratios


def test_errors_say_what_is_right() -> None:
    attention = [np.array([RISING] * 3)]
    with pytest.raises(PolicyError, match="these samples allow"):
        fit_counts(attention, attention, 0.1)
    with pytest.raises(PolicyError, match=r"in \(0, 1\]"):
        fit_counts(attention, attention, 0.0)
    with pytest.raises(PolicyError, match="as many of both"):
        fit_counts(attention, [], 0.5)
    with pytest.raises(PolicyError, match="alike in both"):
        fit_counts(attention, [np.array([RISING] * 2)], 0.5)
