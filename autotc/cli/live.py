"""A search's progress on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from autotc.report.progress import LOADING_MODEL, ProgressBar
from autotc.report.search import front_table
from autotc.report.tables import fitting
from autotc.search.progress import SearchProgress
from autotc.search.result import FrontRow

PHASES = {
    "open": "opening the study and counting costs",
    "uncompressed": "evaluating the uncompressed model",
    "val": "ranking the front on the validation split",
    "test": "measuring the front on the test split",
    "worth": "comparing with the best presets and controls",
    "report": "drawing the front and recording it",
}
SHOWN = 12
"""Rows of the running front."""


class LiveProgress(SearchProgress):
    """Shows how a search goes: a bar with the running front below it."""

    def __init__(self) -> None:
        self.bar = ProgressBar("search")
        self._number, self._policies = 1, 1

    def __enter__(self) -> LiveProgress:
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)

    def loading(self) -> None:
        """The model is being loaded."""
        self.bar.phase(LOADING_MODEL, quiet=True)

    def on_phase(self, name: str) -> None:
        self._number, self._policies = 1, 1
        self.bar.phase(PHASES.get(name, name))

    def on_policy(self, number: int, total: int) -> None:
        self._number, self._policies = number, total

    def on_trial(self, done: int, total: int, eta: float, front: Sequence[FrontRow]) -> None:
        points = [{**row.to_json(), "accuracy": {"accuracy": row.accuracy}, "policy": row.label} for row in front]
        with fitting(self.bar.width):
            shown = front_table(points[-SHOWN:])
        self.bar(done, total, shown, eta=eta)

    def on_samples(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        before = (self._number - 1) * total
        self.bar(before + done, self._policies * total, below, eta=eta)

    def on_event(self, message: str) -> None:
        self.bar.say(message)
