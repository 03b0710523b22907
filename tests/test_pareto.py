"""Fronts and the area they cover."""

from __future__ import annotations

import pytest

from autotc.pareto import hypervolume, pareto_front

Point = tuple[float, float, int]


def front(points: list[Point]) -> list[Point]:
    return pareto_front(points, cost=lambda p: p[0], value=lambda p: p[1], tie=lambda p: p[2])


def test_dominated_and_equal_points_are_left_out() -> None:
    points = [(0.5, 0.8, 2), (0.3, 0.6, 0), (0.5, 0.8, 1), (0.5, 0.7, 0), (0.9, 0.8, 0), (0.2, 0.1, 0)]
    assert front(points) == [(0.2, 0.1, 0), (0.3, 0.6, 0), (0.5, 0.8, 1)]
    assert front([]) == []


def test_without_a_preference_the_first_of_equals_stays() -> None:
    points = [(0.5, 0.8, 2), (0.5, 0.8, 1)]
    assert pareto_front(points, cost=lambda p: p[0], value=lambda p: p[1]) == points[:1]


def test_hypervolume_counts_from_the_reference_point() -> None:
    assert hypervolume([(0.6, 0.5)], (0.1, 1.0)) == pytest.approx(0.5 * 0.5)
    assert hypervolume([(0.6, 0.5), (0.9, 0.8)], (0.1, 1.0)) == pytest.approx(0.5 * 0.5 + 0.3 * 0.2)
    assert hypervolume([(0.1, 0.5), (0.9, 1.0)], (0.1, 1.0)) == 0.0
