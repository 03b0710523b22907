"""What could not be logged, kept in a file beside the study, in order, until it can."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from autotc.tracking.events import EVENTS, CurveEvent, EndEvent, FinishEvent, TrialEvent

Event = TrialEvent | CurveEvent | FinishEvent | EndEvent


class SpoolHeader(BaseModel):
    """Whose events a spool keeps: its first line.

    Attributes:
        study: name of the study, and of the parent run.
        params: of the parent run, to make it with.
        run_id: of the parent run; None where none could be made.
        address: where it was to be logged, without a password; None for the local store.
    """

    model_config = ConfigDict(frozen=True)
    study: str
    params: dict[str, str]
    run_id: str | None = None
    address: str | None = None


class Spool:
    """A file of events, a line of JSON each, behind a header.

    Args:
        path: of the file; it is there only while something is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __bool__(self) -> bool:
        return self.path.is_file()

    def begin(self, header: SpoolHeader) -> None:
        """Begin the file, if it has not begun."""
        if not self:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(header.model_dump(mode="json"))

    def append(self, event: Event) -> None:
        """Keep an event; it is on the disk on return."""
        self._write(event.model_dump(mode="json"))

    def _write(self, line: Mapping[str, object]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[SpoolHeader | None, list[Event]]:
        """Header and events, in order; a line that was cut off by a kill or a full disk is left out."""
        if not self:
            return None, []
        header: SpoolHeader | None = None
        events: list[Event] = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if header is None:
                    header = SpoolHeader.model_validate_json(line)
                else:
                    events.append(EVENTS.validate_json(line))
            except ValidationError:
                continue
        return header, events

    def remove(self) -> None:
        """All that was kept has been logged."""
        self.path.unlink(missing_ok=True)
