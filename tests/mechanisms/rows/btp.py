"""BTP: three choices as sets, and their union filled up."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine


def _share(given: Given, name: str, default: float) -> float:
    return float(str(given.params.get(name, default)))


def _attended(attention: list[float], count: int, wide: int, m: int) -> set[int]:
    """Of the ``wide`` most attended, those at the first m places, then the rest, by attention."""
    looked_at = sorted(range(len(attention)), key=lambda i: -attention[i])[:wide]
    return set(([i for i in looked_at if i < m] + [i for i in looked_at if i >= m])[:count])


def _spread(distance: np.ndarray, start: set[int], count: int, first: int) -> set[int]:
    """Farthest-point sampling with every distance looked up again; ``first`` where nothing is chosen yet."""
    chosen = set(start)
    while len(chosen) < count:
        free = [i for i in range(len(distance)) if i not in chosen]
        chosen.add(max(free, key=lambda i: min(distance[i, j] for j in chosen)) if chosen else first)
    return chosen


def reference(given: Given, m: int) -> list[int]:
    """The union, in which attention decides where it is too large."""
    n, attention = len(given.x), [float(a) for a in given.scores["last_query_attention"]]
    grid = np.array([[np.abs(given.places[i] - given.places[j]).sum() for j in range(n)] for i in range(n)])
    angle = np.array([[1 - cosine(given.x[i], given.x[j]) for j in range(n)] for i in range(n)])
    lonely = max(range(n), key=lambda i: min((angle[i, j] for j in range(n) if j != i), default=0.0))

    count = int(m * _share(given, "attention", 0.3))
    wide = min(n, int(count * _share(given, "widen", 3.7)))
    front = bool(given.params.get("front", True))
    chosen = _attended(attention, count, wide, m) if front else _attended(attention, min(wide, m), min(wide, m), m)
    spaced = _spread(grid, set(), int(m * _share(given, "space", 0.5)), 0)
    diverse = _spread(angle, set(), int(m * _share(given, "diversity", 0.3)), lonely)
    for wanted in (spaced - chosen, diverse - spaced - chosen):
        ordered = sorted(wanted, key=lambda i: -attention[i])
        chosen |= set(ordered[: m - len(chosen)])
    return sorted(_spread(angle, chosen, m, lonely))


# Attention alone, two of six: 5 and 4 are most attended. Looking at three (1.5 times as many), 1 is among them and
# stands at one of the first two places, so it comes before 4. Space alone: token 0, then the far end of the line.
# Diversity alone: 3 has no neighbour (its nearest is at 90 degrees, every other has a twin); 0 is opposite to it.
_X = [[1.0, 0.0], [1.0, 0.1], [0.1, 1.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.2]]
_SCORES = {"last_query_attention": [0.01, 0.2, 0.05, 0.02, 0.22, 0.5]}
_ALL = {"attention": 1.0, "diversity": 0.0, "space": 0.0}
ROW = Row(
    reference,
    (
        Case(_X, 2, [4, 5], scores=_SCORES, params=_ALL | {"widen": 1.0}),
        Case(_X, 2, [1, 5], scores=_SCORES, params=_ALL | {"widen": 1.5}),
        # int(4 x 0.5) = 2, widened to three that all stay: 5, 4 and 1; then 3, opposite to its nearest, 5.
        Case(
            _X,
            4,
            [1, 3, 4, 5],
            scores=_SCORES,
            params={"attention": 0.5, "diversity": 0.0, "space": 0.0, "widen": 1.5, "front": False},
        ),
        Case(_X, 2, [0, 5], scores=_SCORES, params={"attention": 0.0, "diversity": 0.0, "space": 1.0}),
        Case(_X, 2, [0, 3], scores=_SCORES, params={"attention": 0.0, "diversity": 1.0, "space": 0.0}),
        Case(_X, 6, [0, 1, 2, 3, 4, 5], scores=_SCORES),
    ),
    exact_flops=False,
    params=(
        {},
        {"attention": 0.9, "diversity": 0.1, "space": 0.0, "widen": 1.5},
        {"attention": 1.0, "diversity": 0.0, "space": 0.0, "widen": 1.2},
        {"attention": 0.3, "diversity": 0.0, "space": 0.0, "widen": 1.2, "front": False},
    ),
)
