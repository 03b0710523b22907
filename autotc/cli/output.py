"""What a command prints: one JSON document, or text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotc.report.tables import fitting, wrapped


@dataclass(frozen=True)
class Output:
    """What a command found.

    Attributes:
        document: printed with ``--json``: dictionaries, lists, texts, numbers and paths.
        text: printed without: a text as it is, or what makes it, called once the width of the terminal is known.
        code: exit code.
    """

    document: Any
    text: str | Callable[[], str]
    code: int = 0

    def shown(self, width: int | None) -> str:
        """The text, on a terminal no wider than that.

        Args:
            width: characters of a line; None where a file or a pipe takes the text.
        """
        if isinstance(self.text, str):
            return self.text
        with fitting(width):
            return wrapped(self.text())


def to_json(document: Any, *, ascii_only: bool = False) -> str:
    """One JSON document: no NaN, no tuples, texts for paths."""
    return json.dumps(_plain(document), indent=2, ensure_ascii=ascii_only)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def files_written(files: list[Path] | tuple[Path, ...]) -> str:
    """One line for each file that was written."""
    return "\n".join(f"written  {path}" for path in files)
