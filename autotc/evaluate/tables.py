"""Data files as rows: JSON lines, a JSON list, CSV and Parquet, all with the same fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from autotc.errors import DataError, missing_dependency, one_line, quote
from autotc.evaluate.fields import ALIASES, KINDS, Row
from autotc.evaluate.media import shown_name
from autotc.files import read_bytes, read_text

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Of data files; what has another ending is read as JSON lines."""
DATA_BYTES = 2**30
"""Of the largest data file."""
_WANTED = "a data file (.jsonl, .json, .csv, .tsv or .parquet)"
_LISTS = (*KINDS, *ALIASES, "answers")
"""Columns whose cells may hold a list, written as JSON."""
_STRUCTURES = ("questions", "turns", "messages", "conversations")
"""Columns whose cells hold a list of objects, written as JSON."""


def read_rows(path: Path) -> list[Row]:
    """Rows of a data file by its ending.

    Raises:
        DataError: it cannot be read, is not what its ending says, or is empty.
    """
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {
        ".json": _json_list,
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
    }
    rows = list(readers.get(path.suffix.lower(), _json_lines)(path))
    if not rows:
        raise DataError(
            f"{shown_name(path)}: is empty; at least one line or row with media, prompt, answer and id is expected"
        )
    return rows


# --- JSON ---


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, _WANTED, limit=DATA_BYTES).split("\n"), start=1):
        if line.strip():
            place = f"line {number}"
            yield _object(_parsed(line, f"{shown_name(path)}: {place}"), path, place, number)


def _json_list(path: Path) -> Iterator[Row]:
    name = shown_name(path)
    items = _parsed(read_text(path, _WANTED, limit=DATA_BYTES), name)
    if not isinstance(items, list):
        raise DataError(f"{name}: holds {type(items).__name__}; a list of objects is expected, or name it .jsonl")
    for number, item in enumerate(items, start=1):
        yield _object(item, path, f"entry {number}", number)


def _object(value: object, path: Path, place: str, number: int) -> Row:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise DataError(
            f"{shown_name(path)}: {place}: holds {kind}; an object with media, prompt, answer, id is expected"
        )
    return Row(value, path, place, number)


def _parsed(text: str, where: str, wanted: str = "an object") -> object:
    """A JSON value.

    Raises:
        DataError: it is none, names a key twice, or holds a number or a nesting that is beyond reading.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where}: is not JSON ({error.msg}, {at}); {wanted} is expected") from error
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deep; an object of texts and lists of paths is expected") from error
    except ValueError as error:  # a key twice, NaN, or more digits than Python reads
        raise DataError(f"{where}: cannot be read ({one_line(error, 120)}); {wanted} is expected") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError(f"the key {quote(_twice([name for name, _ in pairs]))} stands twice")
    return out


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _twice(names: Sequence[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name in names if names.count(name) > 1), None)


# --- tables ---


def _csv(path: Path) -> Iterator[Row]:
    """Rows of a table with a header; a row is called by the line that it begins on, and empty cells say nothing."""
    name = shown_name(path)
    text = read_text(path, _WANTED, limit=DATA_BYTES)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
    )
    begins = 1
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if (twice := _twice(header)) is not None:
            raise DataError(f"{name}: line 1: the column {quote(twice)} stands twice")
        begins = reader.line_num + 1
        for cells in reader:
            place, number, begins = f"line {begins}", begins, reader.line_num + 1
            if len(cells) > len(header):
                raise DataError(f"{name}: {place}: has {len(cells)} cells; the header names {len(header)} columns")
            filled = {key: cell for key, cell in zip(header, cells, strict=False) if cell.strip()}
            if filled:
                yield _table_row(filled, path, place, number)
    except csv.Error as error:
        raise DataError(f"{name}: line {begins}: is no row of a table ({one_line(error, 120)})") from error


def _parquet(path: Path) -> Iterator[Row]:
    """Rows of a table, counted from 1; nulls say nothing."""
    name = shown_name(path)
    data = read_bytes(path, _WANTED, limit=DATA_BYTES)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_dependency(error) from error
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
        rows = table.to_pylist()
    except Exception as error:  # pyarrow raises many kinds
        raise DataError(f"{name}: is no Parquet file ({one_line(error, 120)}); {_WANTED} is expected") from error
    if (twice := _twice(table.column_names)) is not None:
        raise DataError(f"{name}: the column {quote(twice)} stands twice")
    for number, row in enumerate(rows, start=1):
        yield _table_row({key: _plain(value) for key, value in row.items()}, path, f"row {number}", number)


def _plain(value: object) -> object:
    """A value without the nulls that a column's type puts into its structures; whole numbers without ``.0``.

    A column of whole numbers is one of floats as soon as one of its cells is empty.
    """
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() else value
    return value


def _table_row(cells: Mapping[str, object], path: Path, place: str, number: int) -> Row:
    """A row of a table, whose structures are written as JSON where the table has none of its own."""
    data = {key: value for key, value in cells.items() if value is not None}
    for key, value in data.items():
        if not isinstance(value, str):
            continue
        if key in _STRUCTURES or (key in _LISTS and value.lstrip().startswith("[")):
            data[key] = _parsed(value, f"{shown_name(path)}: {place}: {key}", "a list")
        elif key == "answer":
            data[key] = _answer(value)
    return Row(data, path, place, number)


def _answer(cell: str) -> object:
    """What a cell says is right: a list of texts written as JSON, or itself, which may stand in brackets too."""
    try:
        value = json.loads(cell) if cell.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return cell
    return value if isinstance(value, list) and value and all(isinstance(item, str) for item in value) else cell
