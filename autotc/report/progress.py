"""Progress with an ETA on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from autotc.report.tables import duration

if TYPE_CHECKING:
    from rich.live import Live

PLAIN_EVERY = 10.0
"""Seconds between two lines of progress where stderr is no terminal."""


class ProgressBar:
    """Progress with an ETA on stderr, and a text below it: with rich on a terminal, as plain lines elsewhere.

    Args:
        title: what is being done.
        stream: where it is shown; None takes stderr.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = sys.stderr if stream is None else stream
        self._start = self._last = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressBar:
        self._start = self._last = time.monotonic()
        if self.stream.isatty():
            try:
                from rich.console import Console
                from rich.live import Live
            except ImportError:
                return self
            self._live = Live(console=Console(file=self.stream), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def width(self) -> int | None:
        """Characters of a line of the terminal; None where there is none."""
        return None if self._live is None else self._live.console.width

    def phase(self, title: str) -> None:
        """Begin something whose steps are not told."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(f"{title} ..."))
        else:
            print(f"{title} ...", file=self.stream, flush=True)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self._live is not None:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=self.stream, flush=True)

    def __call__(self, done: int, total: int, below: str = "", *, eta: float | None = None) -> None:
        """Show that ``done`` of ``total`` are done, with a text below.

        Args:
            done, total: steps.
            below: shown under the bar.
            eta: seconds left; None takes the pace since the start.
        """
        now = time.monotonic()
        passed = now - self._start
        if eta is None and done:
            eta = passed * (total - done) / done
        left = "?" if eta is None else duration(eta)
        line = f"{self.title} {done}/{total}  {duration(passed)} passed, {left} left"
        if self._live is not None:
            from rich.console import Group
            from rich.progress_bar import ProgressBar as Bar
            from rich.text import Text

            self._live.update(Group(Text(line), Bar(total=total, completed=done, width=60), Text(below)))
        elif now - self._last >= PLAIN_EVERY or done == total:
            self._last = now
            print(f"{line}\n{below}" if below else line, file=self.stream, flush=True)
