"""What a space is asked through: Optuna's trials, and stand-ins that draw, list or enumerate without Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Trial(Protocol):
    """What a space asks for values: Optuna's trials, and all that stands for one."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """A number from low to high, both possible, in steps."""


class RandomTrial:
    """Draws at random, every value as likely as its alternatives."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Any of the choices."""
        return choices[int(self._rng.integers(len(choices)))]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Any number on the grid."""
        return low + step * int(self._rng.integers((high - low) // step + 1))


class NamingTrial:
    """Notes the names it is asked for, of a given kind of schedule with the most layers.

    Attributes:
        names: asked for, in order.
    """

    def __init__(self, schedule: str) -> None:
        self._schedule = schedule
        self.names: list[str] = []

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The schedule, or the last choice: step schedules list those with the most layers last."""
        self.names.append(name)
        return self._schedule if name.endswith(".schedule") else choices[-1]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The highest."""
        self.names.append(name)
        return high


class EnumeratingTrial:
    """Draws every combination of what is suggested, one after the other."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._at: list[int] = []
        self._depth = 0

    def _next(self, size: int) -> int:
        if self._depth == len(self._at):
            self._at.append(0)
            self._sizes.append(size)
        self._depth += 1
        return self._at[self._depth - 1]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The next choice."""
        return choices[self._next(len(choices))]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The next number."""
        return low + step * self._next((high - low) // step + 1)

    def advance(self) -> bool:
        """Go to the next combination; False behind the last."""
        self._depth = 0
        while self._at:
            self._at[-1] += 1
            if self._at[-1] < self._sizes[-1]:
                return True
            self._at.pop()
            self._sizes.pop()
        return False
