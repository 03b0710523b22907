"""Pareto fronts of cost against value, and the area that they cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def _no_preference(_: object) -> float:
    return 0.0


def pareto_front(
    items: Iterable[T],
    *,
    cost: Callable[[T], float],
    value: Callable[[T], float],
    tie: Callable[[T], float] = _no_preference,
) -> list[T]:
    """Items that no other beats: none is at least as valuable and at most as costly. Cheapest first.

    Args:
        items: in any order.
        cost: of an item, the less the better.
        value: of an item, the more the better.
        tie: of items that are equal in both, the one with the smallest stays; without it the first.
    """
    front: list[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -value(item), tie(item))):
        if not front or value(item) > value(front[-1]):
            front.append(item)
    return front


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area that (value, cost) points dominate, up to a reference point.

    Args:
        points: value, the more the better, and cost, the less the better; in any order.
        reference: (value, cost) of the corner from which the area is counted; points beyond it add nothing.
    """
    import moocore
    import numpy as np

    least, most = reference
    inside = [(-value, cost) for value, cost in points if value > least and cost < most]
    if not inside:
        return 0.0
    return float(moocore.hypervolume(np.array(inside), ref=np.array([-least, most])))


def knee(front: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The point of a front that lies furthest above the line from its first point to its last, both axes scaled to 1.

    Args:
        front: (cost, value), cheapest first.

    Returns:
        The point; None where fewer than three points, or none above the line, leave no knee.
    """
    if len(front) < 3:
        return None
    (cheap, poor), (dear, good) = front[0], front[-1]
    heights = [
        ((value - poor) / (good - poor) - (cost - cheap) / (dear - cheap), (cost, value)) for cost, value in front
    ]
    height, point = max(heights)
    return point if height > 1e-9 else None
