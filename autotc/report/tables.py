"""Text tables, intervals and durations, as commands print them."""

from __future__ import annotations

from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned by blanks: numbers to the right, texts to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or _numeric(str(row[i])) for row in rows)
        for i in range(len(headers))
    ]
    lines = []
    for line in [list(headers), ["-" * width for width in widths], *cells]:
        parts = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


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
    return bool(text) and text[0] in "-+.0123456789" and all(c in "-+.,%x0123456789e [](){}" for c in text)


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
