"""Records as tables: a pandas frame, and the HTML that a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from autotc.errors import missing_dependency

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a pandas table.

    Args:
        rows: column -> value of each row.
        columns: their order, and the columns of a table without rows; by default as the first row has them.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_dependency(error) from error
    return pd.DataFrame.from_records(list(rows), columns=list(columns) or None)


def html_table(rows: Sequence[Mapping[str, object]], caption: str = "") -> str:
    """Rows as an HTML table; every value is escaped, numbers are shown with four digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = ["".join(f"<td>{escape(_cell(row.get(name)))}</td>" for name in columns) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
