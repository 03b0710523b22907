"""Every interval holds its 95%: counted exactly where samples are independent, simulated where they share clusters."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, multinomial

from autotc.errors import DataError
from autotc.statistics import (
    Interval,
    accuracy_interval,
    cluster_numbers,
    difference_of_intervals,
    mean_of_differences,
    mean_of_intervals,
    median_ratio_interval,
    paired_difference,
    quantile,
    resample_counts,
)

Array = NDArray[np.float64]


def right(count: int, size: int) -> Array:
    return np.repeat([1.0, 0.0], [count, size - count])


@pytest.mark.parametrize(
    ("n", "p", "coverage"),
    [
        # Where the true accuracy is 0 an interval from 0 on is always right.
        (10, 0.0, 1.0),
        (50, 0.0, 1.0),
        (600, 0.0, 1.0),
        # Of 10 samples, or of 50 near an edge, so few outcomes are likely that no interval covers between 93% and 97%:
        # the next narrower one of 50 at 0.02 would cover 92.2%.
        (10, 0.02, 0.984),
        (10, 0.5, 0.979),
        (10, 0.98, 0.984),
        (50, 0.02, 0.982),
        (50, 0.5, 0.935),
        (50, 0.98, 0.982),
        (600, 0.02, 0.945),
        (600, 0.5, 0.955),
        (600, 0.98, 0.945),
    ],
)
def test_the_accuracy_of_independent_samples_is_covered(n: int, p: float, coverage: float) -> None:
    covered = 0.0
    for count in range(n + 1):
        _, low, high = accuracy_interval(right(count, n))
        covered += binom.pmf(count, n, p) * (low <= p <= high)
    assert covered == pytest.approx(coverage, abs=0.001)
    assert covered >= 0.93


@pytest.mark.parametrize(
    ("n", "worse", "better"),
    [(10, 0.0, 0.0), (10, 0.3, 0.1), (50, 0.02, 0.0), (50, 0.05, 0.05), (50, 0.1, 0.02), (50, 0.3, 0.1)],
)
def test_paired_differences_of_independent_samples_are_covered(n: int, worse: float, better: float) -> None:
    covered = 0.0
    for up, down in product(range(n + 1), range(n + 1)):
        if up + down > n:
            continue
        chance = multinomial.pmf([up, down, n - up - down], n, [better, worse, 1 - better - worse])
        if chance > 1e-9:
            change = paired_difference(np.repeat([1.0, -1.0, 0.0], [up, down, n - up - down]))
            _, low, high = change.interval()
            covered += chance * (low <= better - worse <= high)
    assert covered >= 0.93


def clustered(rng: np.random.Generator, values: Array, chances: Array, sizes: list[int], alike: float) -> Array:
    """Values of samples in clusters: each is its cluster's with a probability, else drawn by itself."""
    members = np.repeat(np.arange(len(sizes)), sizes)
    shared = rng.choice(values, len(sizes), p=chances)[members]
    own = rng.choice(values, len(members), p=chances)
    return np.where(rng.random(len(members)) < alike, shared, own)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("p", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("n", [10, 50, 600])
def test_the_accuracy_of_clusters_of_eight_is_covered(n: int, p: float, alike: float) -> None:
    sizes = [8] * (n // 8) + [n % 8] * (n % 8 > 0)
    names = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
    rng, runs = np.random.default_rng(0), 400
    covered = 0
    for _ in range(runs):
        scores = clustered(rng, np.array([0.0, 1.0]), np.array([1 - p, p]), sizes, alike)
        _, low, high = accuracy_interval(scores, names)
        covered += low <= p <= high
    # Three standard errors of the simulation below 95%. Few clusters tell little, and are covered too often.
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
    if n == 600 and p == 0.5:
        assert covered / runs <= 0.95 + 3 * math.sqrt(0.95 * 0.05 / runs)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("worse", "better"), [(0.02, 0.0), (0.05, 0.05), (0.1, 0.02)])
def test_paired_differences_of_clusters_are_covered(worse: float, better: float, alike: float) -> None:
    rng, runs, sizes = np.random.default_rng(0), 400, [8] * 75
    names = [str(i) for i in range(75) for _ in range(8)]
    covered = 0
    for _ in range(runs):
        chances = np.array([worse, 1 - worse - better, better])
        change = paired_difference(clustered(rng, np.array([-1.0, 0.0, 1.0]), chances, sizes, alike), names)
        _, low, high = change.interval()
        covered += low <= better - worse <= high
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_samples_that_share_clusters_are_not_taken_for_independent() -> None:
    scores = np.repeat(np.random.default_rng(0).integers(0, 2, 75), 8).astype(float)
    names = [str(i // 8) for i in range(600)]
    alone, together = accuracy_interval(scores), accuracy_interval(scores, names)
    # Equal answers within clusters of 8 widen an interval by the root of 8.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(8), rel=0.05)


def test_nothing_seen_to_differ_is_no_proof() -> None:
    assert accuracy_interval(right(0, 10)) == (0.0, 0.0, pytest.approx(0.321, abs=0.001))
    assert accuracy_interval(right(10, 10)) == (1.0, pytest.approx(0.679, abs=0.001), 1.0)
    mean, low, high = paired_difference(np.zeros(600)).interval()
    assert (mean, -low, high) == (0.0, pytest.approx(0.0046, abs=1e-4), pytest.approx(0.0046, abs=1e-4))
    # A whole cluster counts as one sample there: 75 of them.
    assert paired_difference(np.zeros(600), [str(i // 8) for i in range(600)]).interval().high > 0.03


def test_scores_between_0_and_1_are_covered() -> None:
    rng, runs = np.random.default_rng(0), 600
    draws = rng.beta(8, 2, (runs, 60))
    covered = sum(low <= 0.8 <= high for _, low, high in map(accuracy_interval, draws))
    assert 0.93 <= covered / runs <= 0.97
    # Far less spread than scores of 0 and 1 would have.
    assert accuracy_interval(draws[0]).high - accuracy_interval(draws[0]).low < 0.08


def test_the_mean_of_groups() -> None:
    groups = [accuracy_interval(right(90, 100)), accuracy_interval(right(40, 50))]
    mean, low, high = mean_of_intervals(groups)
    assert mean == pytest.approx(0.85)
    assert (mean - low) == pytest.approx(math.hypot(*(g.mean - g.low for g in groups)) / 2)
    assert high > mean
    changes = [paired_difference(np.repeat([-1.0, 0.0], [10, 90])), paired_difference(np.zeros(100))]
    overall = mean_of_differences(changes)
    assert overall.mean == pytest.approx(-0.05)
    assert math.isinf(overall.freedom)
    assert overall.error == pytest.approx(math.hypot(*(change.error for change in changes)) / 2)


def test_degrees_of_freedom_of_unequal_groups() -> None:
    names = [str(i // 8) for i in range(80)]
    few = paired_difference(np.repeat([-1.0, 0.0], [8, 72]), names)
    many = paired_difference(np.zeros(1000))
    assert few.freedom == 9
    # The uncertain group decides nearly alone (Welch and Satterthwaite).
    assert 9 <= mean_of_differences([few, many]).freedom < 10


def test_tests_agree_with_intervals() -> None:
    change = paired_difference(np.repeat([-1.0, 1.0, 0.0], [40, 10, 550]))
    low, high = change.interval()[1:]
    assert change.p_at_least(high) == pytest.approx(0.025)
    assert change.p_at_most(low) == pytest.approx(0.025)
    assert change.p_at_least(0.0) < 0.001 < change.p_at_least(-0.05)


def test_the_difference_of_independent_estimates() -> None:
    first, second = Interval(0.8, 0.7, 0.88), Interval(0.9, 0.84, 0.95)
    mean, low, high = difference_of_intervals(first, second)
    assert mean == pytest.approx(-0.1)
    assert low == pytest.approx(-0.1 - math.hypot(0.1, 0.05))
    assert high == pytest.approx(-0.1 + math.hypot(0.08, 0.06))


@pytest.mark.parametrize(("pairs", "bounds"), [(3, (1, 3)), (6, (1, 6)), (9, (2, 8)), (20, (6, 15)), (25, (8, 18))])
def test_medians_lie_between_ranks(pairs: int, bounds: tuple[int, int]) -> None:
    # The ranks are those of the binomial tables for a median.
    assert median_ratio_interval([1.0] * pairs, list(range(1, pairs + 1)))[1:] == bounds


def test_resamples_hold_clusters_whole() -> None:
    counts = resample_counts(5, ["a", "", "a", "", "b"])
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 1] != counts[:, 3]).any()
    assert cluster_numbers(["a", "", "a", "", "b"]).tolist() == [0, 1, 0, 2, 3]


def test_quantiles() -> None:
    assert quantile(0.975) == pytest.approx(1.96, abs=0.001)
    assert quantile(0.975, 4) == pytest.approx(2.776, abs=0.001)


def test_no_samples_are_an_error() -> None:
    with pytest.raises(DataError, match="no samples"):
        accuracy_interval(np.array([]))
