"""Progress with an ETA on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from autotc.report.tables import duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

LOADING_MODEL = "loading the model and the data"
"""A phase of every command that evaluates."""
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
        self._doing = title
        self._start = self._began = self._last = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressBar:
        self._start = self._began = self._last = time.monotonic()
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

    def phase(self, title: str, *, quiet: bool = False) -> None:
        """Begin a phase: steps that follow are of it, and the seconds that are left are of its own pace.

        Args:
            title: what is being done.
            quiet: show it on a terminal alone, where its seconds run until the first step is told.
        """
        self._doing, self._began = title, time.monotonic()
        if self._live is not None:
            self._live.update(_Waiting(title, self._began))
        elif not quiet:
            print(f"{title} ...", file=self.stream, flush=True)

    def steps(self) -> None:
        """End a phase whose steps are not told: steps that follow are of what the bar is for."""
        self._doing, self._began = self.title, time.monotonic()

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
        if eta is None and done:
            eta = (now - self._began) * (total - done) / done
        left = "?" if eta is None else duration(eta)
        line = f"{self._doing} {done}/{total}  {duration(now - self._start)} passed, {left} left"
        if self._live is not None:
            from rich.console import Group
            from rich.progress_bar import ProgressBar as Bar
            from rich.text import Text

            self._live.update(Group(Text(line), Bar(total=total, completed=done, width=60), Text(below)))
        elif now - self._last >= PLAIN_EVERY or done == total:
            self._last = now
            print(f"{line}\n{below}" if below else line, file=self.stream, flush=True)


class _Waiting:
    """What is being done and for how long, looked at anew whenever it is drawn."""

    def __init__(self, title: str, began: float) -> None:
        self._title, self._began = title, began

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text(f"{self._title} ... {duration(time.monotonic() - self._began)}")
