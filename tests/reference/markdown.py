"""What the documents are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def cell(text: str) -> str:
    """A text on one line, in which no bar ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def anchor(title: str) -> str:
    """What a title is linked by."""
    return title.lower().replace(" ", "-")
