"""How keep ratios fall over the layers of one stage: a class for each schedule holds how it is drawn and encoded."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

from autotc.search.space.trials import Trial

Schedule = Literal["single", "step", "free", "linear", "sigmoid"]
STEEPNESS = (0.5, 1.0, 2.0, 4.0)
"""Slopes of sigmoid schedules, per layer."""
Steps = dict[int | None, int]
"""Layer -> keep ratio in percent from there on; None where the location has no layers."""
Params = dict[str, Any]


def to_percent(ratio: float) -> int:
    """A ratio as whole percent."""
    return round(ratio * 100)


@dataclass(frozen=True)
class Ratios:
    """Keep ratios that a stage may take, in percent.

    Attributes:
        low, high: bounds, both possible.
        grid: their step.
        left: what stages before it leave; None where there are none. Ratios of the stage lie under it.
    """

    low: int
    high: int
    grid: int
    left: int | None = None

    @property
    def top(self) -> int:
        """The highest ratio under what is left; the lowest of all where there is none, which a rule then refuses."""
        if self.left is None:
            return self.high
        return max(self.low, min(self.high, (self.left - 1) // self.grid * self.grid))

    @property
    def everything(self) -> int:
        """Stands for all tokens that are left: one step above what may be chosen."""
        return self.top + self.grid

    def below(self, left: int | None, room: int = 0) -> tuple[int, int]:
        """Bounds of a ratio under what is left, with room for ``room`` lower ratios to come."""
        least = self.low + room * self.grid
        top = self.high if left is None else max(least, min(self.high, (left - 1) // self.grid * self.grid))
        return least, max(least, top)

    def hold(self, values: Sequence[int]) -> bool:
        """Whether values lie within the bounds and on the grid, none twice."""
        inside = all(self.low <= value <= self.high and value % self.grid == 0 for value in values)
        return inside and len(set(values)) == len(values)


class _Asked:
    """A trial asked under a prefix."""

    def __init__(self, trial: Trial, prefix: str) -> None:
        self._trial, self._prefix = trial, prefix

    def choice(self, name: str, choices: Sequence[Any]) -> Any:
        return self._trial.suggest_categorical(f"{self._prefix}.{name}", choices)

    def percent(self, name: str, bounds: tuple[int, int], grid: int) -> int:
        return self._trial.suggest_int(f"{self._prefix}.{name}", *bounds, step=grid)


class Scheduler(ABC):
    """One kind of schedule.

    Class attributes:
        name: as spaces write it.
    """

    name: ClassVar[Schedule]

    def suggest(self, trial: Trial, prefix: str, layers: Sequence[int], ratios: Ratios) -> Steps:
        """Draw the steps of a stage.

        Args:
            trial: asked for values.
            prefix: of their names.
            layers: that the stage may act at, ascending.
            ratios: that it may take.
        """
        return self._draw(_Asked(trial, prefix), layers, ratios)

    @abstractmethod
    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps: ...

    @abstractmethod
    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        """Parameters, without their prefix, with which `suggest` draws these steps; None where it does not.

        Args:
            steps: layer -> percent, ascending by layer; layer 0 where the location has none.
            layers, ratios: as of `suggest`.
        """


class Single(Scheduler):
    """One ratio at one layer, or at a location without layers."""

    name = "single"

    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps:
        layer = int(ask.choice("layer", list(layers))) if layers else None
        return {layer: ask.percent("keep_percent", ratios.below(ratios.left), ratios.grid)}

    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        if len(steps) > 1:
            return None
        ((layer, percent),) = steps.items()
        return {**({"layer": layer} if layers else {}), "keep_percent": percent}


class Step(Scheduler):
    """Ratios that fall at two or three of the layers."""

    name = "step"

    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps:
        at = [int(layer) for layer in str(ask.choice("layers", combos(layers))).split(",")]
        percents: list[int] = []
        left = ratios.left
        for i in range(len(at)):
            left = ask.percent(f"keep_percent.{i}", ratios.below(left, len(at) - 1 - i), ratios.grid)
            percents.append(left)
        return falls(at, percents)

    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        values = list(steps.values())
        if not set(steps) <= set(layers) or not 2 <= len(steps) <= 3 or not ratios.hold(values):
            return None
        return {"layers": ",".join(map(str, steps)), **{f"keep_percent.{i}": v for i, v in enumerate(values)}}


class Free(Scheduler):
    """Any ratios before the layers that do not rise; at least one falls."""

    name = "free"

    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps:
        percents: list[int] = []
        now = ratios.everything
        for layer in layers:
            nothing_fell = layer == layers[-1] and now == ratios.everything
            highest = now - ratios.grid if nothing_fell else now
            now = ask.percent(f"keep_percent.at-{layer}", (ratios.low, highest), ratios.grid)
            percents.append(now)
        return falls(layers, percents, ratios.everything)

    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        if not set(steps) <= set(layers) or not ratios.hold(list(steps.values())):
            return None
        now = ratios.everything
        params: Params = {}
        for layer in layers:
            now = params[f"keep_percent.at-{layer}"] = steps.get(layer, now)
        return params


class Linear(Scheduler):
    """From the first layer's ratio to the last's along a line."""

    name = "linear"

    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps:
        return falls(layers, line(layers, *_ends(ask, ratios)))

    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        first, last = _first_and_last(steps)
        if not set(steps) <= set(layers) or layers[0] not in steps or not ratios.low <= first <= ratios.high:
            return None
        if falls(layers, line(layers, first, last)) != steps:
            return None
        return {"first_percent": first, "last_percent": last}


class Sigmoid(Scheduler):
    """Along a sigmoid of the depth (after P-Sigmoid, arXiv 2412.00556)."""

    name = "sigmoid"

    def _draw(self, ask: _Asked, layers: Sequence[int], ratios: Ratios) -> Steps:
        first, last = _ends(ask, ratios)
        middle = float(ask.choice("middle", middles(layers)))
        steepness = float(ask.choice("steepness", STEEPNESS))
        return falls(layers, sigmoid(layers, first, last, middle, steepness))

    def encode(self, steps: Mapping[int, int], layers: Sequence[int], ratios: Ratios) -> Params | None:
        first, _ = _first_and_last(steps)
        if not set(steps) <= set(layers) or layers[0] not in steps or not ratios.low <= first <= ratios.high:
            return None
        return _sigmoids(tuple(layers), ratios.low, ratios.high, ratios.grid).get(tuple(steps.items()))


SCHEDULERS: dict[Schedule, Scheduler] = {
    scheduler.name: scheduler for scheduler in (Single(), Step(), Free(), Linear(), Sigmoid())
}


def combos(layers: Sequence[int]) -> list[str]:
    """Layers of step schedules, e.g. ``1,3``: two of them, then three."""
    return [",".join(map(str, chosen)) for count in (2, 3) for chosen in combinations(layers, count)]


def falls(layers: Sequence[int], percents: Sequence[int], everything: int | None = None) -> Steps:
    """Layers at which the ratio falls, with what it falls to; ``everything`` stands for all that is left."""
    steps: Steps = {}
    now = everything
    for layer, percent in zip(layers, percents, strict=True):
        if now is None or percent < now:
            steps[layer] = now = percent
    return steps


def line(layers: Sequence[int], first: int, last: int) -> list[int]:
    """Percents at the layers along a line from the first to the last."""
    span = layers[-1] - layers[0]
    return [round(first + (last - first) * (layer - layers[0]) / span) for layer in layers]


def middles(layers: Sequence[int]) -> list[float]:
    """Depths at which a sigmoid may be half way down: at its layers, and half way between them."""
    between = [(a + b) / 2 for a, b in itertools.pairwise(layers)]
    return sorted({*map(float, layers), *between})


def sigmoid(layers: Sequence[int], first: int, last: int, middle: float, steepness: float) -> list[int]:
    """Percents at the layers along a sigmoid, from the first to the last exactly, whatever the slope."""
    fall = [1 / (1 + math.exp(-steepness * (layer - middle))) for layer in layers]
    share = [(f - fall[0]) / (fall[-1] - fall[0]) for f in fall]
    return [round(first + (last - first) * s) for s in share]


def _ends(ask: _Asked, ratios: Ratios) -> tuple[int, int]:
    """The first layer's ratio, and the last's, no higher."""
    first = ask.percent("first_percent", ratios.below(ratios.left), ratios.grid)
    return first, ask.percent("last_percent", (ratios.low, first), ratios.grid)


def _first_and_last(steps: Mapping[int, int]) -> tuple[int, int]:
    values = list(steps.values())
    return values[0], values[-1]


@functools.cache
def _sigmoids(
    layers: tuple[int, ...], low: int, high: int, grid: int
) -> dict[tuple[tuple[int | None, int], ...], Params]:
    """What each sigmoid schedule falls to -> its parameters; the first of several that give the same."""
    out: dict[tuple[tuple[int | None, int], ...], Params] = {}
    for first in range(low, high + 1, grid):
        for last in range(low, first + 1, grid):
            for middle, steepness in itertools.product(middles(layers), STEEPNESS):
                steps = falls(layers, sigmoid(layers, first, last, middle, steepness))
                params = {"first_percent": first, "last_percent": last, "middle": middle, "steepness": steepness}
                out.setdefault(tuple(steps.items()), params)
    return out
