"""Bisection: the keep ratio (or step, or exponent) at which a cost meets its target, where costs rise with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def last_step(low: int, high: int, met: Callable[[int], bool]) -> int:
    """The last whole number from ``low`` up to, not including, ``high`` that meets a condition.

    Args:
        low: taken to meet it, and not asked; what is returned where none above it does.
        high: taken not to meet it, and not asked.
        met: holds up to some number and for none above it.
    """
    while high - low > 1:
        middle = (low + high) // 2
        if met(middle):
            low = middle
        else:
            high = middle
    return low


def last_item(items: Sequence[T], met: Callable[[T], bool]) -> T | None:
    """The last of ordered items that meets a condition, which holds up to some item and for none behind it."""
    at = last_step(-1, len(items), lambda step: met(items[step]))
    return items[at] if at >= 0 else None


def bisect(
    inside: float, outside: float, met: Callable[[float], bool], *, steps: int = 64, tolerance: float = 0.0
) -> tuple[float, float]:
    """Narrow an interval of real numbers down to where a condition ends.

    Args:
        inside: taken to meet the condition; may lie above or below ``outside``.
        outside: taken not to meet it.
        met: asked of the middle; holds on one side of some number and not on the other.
        steps: halvings at most.
        tolerance: width at which it ends.

    Returns:
        The number nearest to the edge that meets the condition, and the nearest that does not.
    """
    for _ in range(steps):
        if abs(outside - inside) <= tolerance:
            break
        middle = (inside + outside) / 2
        if met(middle):
            inside = middle
        else:
            outside = middle
    return inside, outside
