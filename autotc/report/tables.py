"""Text tables, intervals and durations, as commands print them; on a terminal no wider than it is.

`fitting` says how wide. Where a table is wider, its texts and titles wrap at blanks; where that is not enough, the
longest texts (paths, policies) stand on lines of their own, and columns that are left over in a further table below
that begins with the same columns. No number, no path and no name is ever broken or cut.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_WIDTH: ContextVar[int | None] = ContextVar("width", default=None)
_GAP = "  "
_TIED = "\u00a0"
"""A blank at which nothing wraps."""
_TALL = 3
"""Lines of a cell above which its column stands on lines of its own."""
_ASIDE = 24
"""Characters of the longest text of a column that may stand on lines of its own, where the table does not fit."""


@contextmanager
def fitting(width: int | None) -> Iterator[None]:
    """Within the block, tables and texts are no wider than a terminal.

    Args:
        width: characters of a line; None: as wide as they are, for files and for pipes.
    """
    token = _WIDTH.set(width)
    try:
        yield
    finally:
        _WIDTH.reset(token)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by blanks: numbers to the right, texts to the left."""
    columns = [_Column.of(title, [row[i] for row in rows]) for i, title in enumerate(headers)]
    width = _WIDTH.get()
    if width is None or _total([column.natural for column in columns]) <= width:
        return "\n".join(_drawn(columns, [column.natural for column in columns]))
    aside = _aside(columns, width)
    bands = _bands([column for column in columns if column is not aside], width)
    tables = [_drawn(band, _shrunk(band, width), aside if band is bands[0] else None, width) for band in bands]
    return "\n\n".join("\n".join(lines) for lines in tables)


def wrapped(text: str) -> str:
    """A text whose long lines go on below, indented, at a blank; commands to paste stay on one line."""
    width = _WIDTH.get()
    if width is None:
        return text
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width or re.match(r"\s*(autotc |MLflow  |command  |python  |environment  )", line):
        return line
    lead = re.match(r"\s*(?:\S+(?: \S+)?  +)?", line)
    start = len(lead[0]) if lead is not None else 0
    rest = " " * (start if 0 < start <= width // 3 else 2)
    return textwrap.fill(
        line, width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


@dataclass(frozen=True)
class _Column:
    """A column of a table.

    Attributes:
        title: above it.
        cells: its texts.
        right: whether it is of numbers.
    """

    title: str
    cells: tuple[str, ...]
    right: bool

    @classmethod
    def of(cls, title: str, cells: Sequence[object]) -> _Column:
        texts = tuple(str(cell) for cell in cells)
        return cls(title, texts, bool(texts) and all(map(_numeric, texts)))

    @property
    def natural(self) -> int:
        """Its width where there is room."""
        return max(len(text) for text in (self.title, *self.cells))

    @property
    def least(self) -> int:
        """The width below which a word, or a number, would be broken."""
        words = [*self.title.split(), *(self.cells if self.right else [w for text in self.cells for w in text.split()])]
        return max((len(word) for word in words), default=0)

    def height(self, width: int) -> int:
        """Lines of its tallest cell."""
        return max((len(self.lines(text, width)) for text in self.cells), default=0)

    def lines(self, text: str, width: int) -> list[str]:
        """A text of it as lines: parts after a semicolon stay together where they can."""
        if len(text) <= width or (self.right and text != self.title):
            return [text]
        parts = text.split("; ")
        if len(parts) > 1 and max(map(len, parts)) < width:
            text = "; ".join(part.replace(" ", _TIED) for part in parts)
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        return [line.replace(_TIED, " ") for line in lines] or [""]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _aside(columns: Sequence[_Column], width: int) -> _Column | None:
    """The column that stands on lines of its own: the last that would be broken, or torn into many lines."""
    texts = [column for column in columns[1:] if not column.right]
    if not texts:
        return None
    if _total([column.least for column in columns]) > width:
        longest = max(reversed(texts), key=lambda column: column.natural)
        return longest if longest.natural >= _ASIDE else None
    widths = {id(column): w for column, w in zip(columns, _shrunk(columns, width), strict=True)}
    tallest = max(reversed(texts), key=lambda column: column.height(widths[id(column)]))
    return tallest if tallest.height(widths[id(tallest)]) > _TALL else None


def _bands(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Columns as tables that fit, each beginning with the columns that tell rows apart."""
    texts = [i for i, column in enumerate(columns[:3]) if not column.right]
    keys = list(columns[: max(texts, default=0) + 1])
    while len(keys) > 1 and _total([column.least for column in keys]) > width // 2:
        keys.pop()
    bands = [keys[:]]
    for column in columns[len(keys) :]:
        if len(bands[-1]) > len(keys) and _total([other.least for other in (*bands[-1], column)]) > width:
            bands.append(keys[:])
        bands[-1].append(column)
    return bands


def _shrunk(columns: Sequence[_Column], width: int) -> list[int]:
    """Widths of columns, the widest made narrower until they fit or nothing more can wrap."""
    widths = [column.natural for column in columns]
    while _total(widths) > width:
        loose = [i for i, column in enumerate(columns) if widths[i] > column.least]
        if not loose:
            break
        widths[max(loose, key=lambda i: widths[i])] -= 1
    return widths


def _drawn(
    columns: Sequence[_Column], widths: Sequence[int], aside: _Column | None = None, width: int | None = None
) -> list[str]:
    """Lines of a table; below each row the text that stands aside."""
    lines = _row(columns, [column.title for column in columns], widths)
    lines += _beside(aside, aside.title, width) if aside else []
    lines.append(_GAP.join("-" * w for w in widths).rstrip())
    for i in range(len(columns[0].cells)):
        lines += _row(columns, [column.cells[i] for column in columns], widths)
        lines += _beside(aside, aside.cells[i], width) if aside else []
    return lines


def _row(columns: Sequence[_Column], texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row of a table, as many lines as its tallest cell has."""
    cells = [column.lines(text, width) for column, text, width in zip(columns, texts, widths, strict=True)]
    out = []
    for i in range(max(map(len, cells))):
        line = [cell[i] if i < len(cell) else "" for cell in cells]
        parts = [
            text.rjust(w) if column.right else text.ljust(w)
            for column, text, w in zip(columns, line, widths, strict=True)
        ]
        out.append(_GAP.join(parts).rstrip())
    return out


def _beside(column: _Column, text: str, width: int | None) -> list[str]:
    """A text on lines of its own."""
    room = len(text) if width is None else max(20, width - 2 * len(_GAP))
    return [2 * _GAP + line for line in column.lines(text, room)]


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as forges render it; signs that would end a cell or start markup are escaped."""
    head, *body = (f"| {' | '.join(markdown_text(str(cell)) for cell in line)} |" for line in (headers, *rows))
    return "\n".join([head, "|" + " --- |" * len(headers), *body])


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    folded = " ".join(text.split())
    return "".join(
        f"&#{ord(sign)};" if sign in "&<>#@" else f"\\{sign}" if sign in "\\`*_[]|" else sign for sign in folded
    )


def _numeric(text: str) -> bool:
    return bool(text) and text[0] in "-+.[0123456789" and all(c in "-+.,%x0123456789e [](){}" for c in text)


def interval(value: Sequence[float]) -> str:
    """``0.912 [0.889, 0.932]``."""
    mean, low, high = value
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def signed(value: Sequence[float]) -> str:
    """A change: ``-0.013 [-0.021, -0.005]``."""
    mean, low, high = value
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def duration(seconds: float) -> str:
    """``1:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
