"""Where an evaluator's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Phases:
    """Seconds spent in each phase, in all and in each run of a policy. Time in a phase within another counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.runs: list[dict[str, float]] = []
        self._open: list[float] = []

    def add(self, name: str, seconds: float) -> None:
        """Count time that passed elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens within."""
        self._open.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.add(name, spent - self._open.pop())
            if self._open:
                self._open[-1] += spent

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run of a policy: what each phase takes within it."""
        before, start = dict(self.seconds), time.perf_counter()
        try:
            yield
        finally:
            spent = {name: value - before.get(name, 0.0) for name, value in self.seconds.items()}
            self.runs.append({**{n: s for n, s in spent.items() if s > 0}, "total": time.perf_counter() - start})

    def to_json(self) -> dict[str, Any]:
        """``seconds`` in all, and ``runs``, one for each run of a policy."""
        rounded = [{name: round(value, 4) for name, value in run.items()} for run in self.runs]
        return {"seconds": {name: round(value, 4) for name, value in self.seconds.items()}, "runs": rounded}
