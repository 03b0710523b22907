"""A search's progress as a log on stderr: a JSON object a line, for machines that collect logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from autotc.search.progress import SearchProgress
from autotc.search.result import FrontRow


class JsonLog(SearchProgress):
    """Writes each event with its time (UTC), and, once they are known, the study, the worker and the trial.

    Args:
        out: where to; None takes stderr.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._known: dict[str, object] = {}

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._write("stopped", reason=f"{type(error).__name__}: {error}")

    def loading(self) -> None:
        """The model is being loaded."""
        self._write("phase", phase="load")

    def on_worker(self, study: str, worker: str) -> None:
        self._known |= {"study": study, "worker": worker}
        self._write("worker")

    def on_phase(self, name: str) -> None:
        self._write("phase", phase=name)

    def on_begin(self, trial: int, policy: str) -> None:
        self._write("begin", trial=trial, policy=policy)

    def on_end(self, trial: int, outcome: str, values: Mapping[str, object]) -> None:
        self._write("end", trial=trial, outcome=outcome, **values)

    def on_policy(self, number: int, total: int) -> None:
        self._write("policy", number=number, total=total)

    def on_trial(self, done: int, total: int, eta: float, front: Sequence[FrontRow]) -> None:
        self._write("progress", done=done, total=total, eta_seconds=round(eta, 1), front=len(front))

    def on_event(self, message: str) -> None:
        self._write("message", message=message)

    def _write(self, event: str, **values: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._out.write(json.dumps({"time": now, "event": event, **self._known, **values}, default=str) + "\n")
        self._out.flush()
