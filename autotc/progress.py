"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far work is; `autotc.report.progress.ProgressBar` shows it on stderr."""

    def __call__(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        """Steps done and steps in all; ``below`` is a text to show under them, ``eta`` seconds that are left."""


class Silent:
    """Progress that is not shown."""

    def __call__(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        """Nothing is shown."""
