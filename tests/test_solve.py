"""Bisection over steps, items and real numbers."""

from __future__ import annotations

import pytest

from autotc.solve import bisect, last_item, last_step


@pytest.mark.parametrize("edge", [0, 1, 2, 37, 99])
def test_last_step_finds_the_edge(edge: int) -> None:
    asked: list[int] = []

    def met(step: int) -> bool:
        asked.append(step)
        return step <= edge

    assert last_step(0, 100, met) == edge
    assert len(asked) <= 7
    assert not {0, 100} & set(asked)


def test_last_item_is_none_where_none_meets() -> None:
    items = ["a", "b", "c"]
    assert last_item(items, lambda item: item <= "b") == "b"
    assert last_item(items, lambda item: False) is None
    assert last_item(items, lambda item: True) == "c"
    assert last_item([], lambda item: True) is None


def test_bisect_narrows_from_either_side() -> None:
    inside, outside = bisect(0.0, 1.0, lambda x: x <= 0.3, tolerance=1e-6)
    assert inside <= 0.3 < outside
    assert outside - inside <= 1e-6
    inside, outside = bisect(4.0, -4.0, lambda x: x >= 0.3, steps=10)
    assert outside < 0.3 <= inside
    assert inside - outside == pytest.approx(8 / 2**10)
