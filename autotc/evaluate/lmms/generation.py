"""What kind of answer a task wants, and how it is to be generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENERATE = "generate_until"
CHOOSE = "multiple_choice"
"""Of lmms-eval's output types those that are evaluated here."""


def first_line(error: BaseException) -> str:
    """Class and first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@dataclass(frozen=True)
class Generation:
    """How a task wants answers generated; equal ones share a batch.

    Attributes:
        new_tokens: most tokens of an answer.
        beams: of beam search.
        until: texts at which an answer ends; a blank line is not one, as in lmms-eval's own models.
    """

    new_tokens: int
    beams: int
    until: tuple[str, ...]

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None, default: int) -> Generation:
        """From a task's ``generation_kwargs``."""
        given = dict(arguments or {})
        until = given.get("until") or ()
        stops = (until,) if isinstance(until, str) else tuple(until)
        return cls(
            int(given.get("max_new_tokens") or default),
            int(given.get("num_beams") or 1),
            tuple(stop for stop in stops if stop and stop != "\n\n"),
        )

    def cut(self, text: str) -> str:
        """The answer up to the first text that ends it."""
        for stop in self.until:
            text = text.split(stop)[0]
        return text.strip()
