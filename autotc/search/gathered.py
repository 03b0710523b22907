"""Results of a study's trials in one file beside theirs: thousands of small files take long to read, one a second."""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotc.errors import DataError, one_line
from autotc.files import replacing
from autotc.results import NUMBERS, WORDS, Results

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "gathered.arrow"
_HEADER = 64
"""Bytes before the Arrow file: its BLAKE2b digest of 32 bytes in hexadecimal digits."""
_FEWEST = 200
"""Files that are gathered at least; then whenever a quarter has been added."""
_ANSWER = "answer"
_SHARED = tuple(name for name in WORDS if name != _ANSWER)
"""Columns that are a split's, whatever ran on it."""
_State = tuple[int, int]
"""Size and time of change, in nanoseconds, of a trial's own file: what is gathered holds while they are the same."""


class Gathered:
    """Reads results files of one folder, and keeps what they hold in one file there, which the next process reads.

    The files themselves are what counts: one that has changed is read itself, and so are all where the gathered file is
    damaged. Processes that write it at once write it one after the other, each whole.

    Args:
        folder: of the results files.
        tell: told where the gathered file is damaged or cannot be written.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._path, self._tell = folder / NAME, tell
        self._known: dict[str, tuple[_State, Results]] | None = None
        self._held, self._added = 0, 0

    def load(self, path: Path) -> Results:
        """As `Results.load`, of a file in the folder.

        Raises:
            DataError: as of `Results.load`.
        """
        if self._known is None:
            self._known = self._read()
            self._held = len(self._known)
        state = _state(path)
        known = self._known.get(path.name)
        if known is not None and known[0] == state:
            return known[1]
        results = Results.load(path)
        if state is not None:
            self._known[path.name] = state, results
            self._added += 1
        return results

    def save(self) -> None:
        """Keep what was read, where that is much more than what is kept already."""
        if self._known is None or self._added < max(_FEWEST, self._held // 4):
            return
        try:
            _write(self._path, self._known)
        except OSError as error:
            self._tell(f"{self._path}: cannot be written ({error.strerror}); results stay in their own files")
        self._held, self._added = len(self._known), 0

    def _read(self) -> dict[str, tuple[_State, Results]]:
        with suppress(FileNotFoundError):
            try:
                return dict(_rows(self._path))
            except (DataError, ValueError, LookupError, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                self._tell(f"{self._path}: is damaged ({one_line(error, 80)}); the files of the trials are read")
        return {}


def _state(path: Path) -> _State | None:
    with suppress(OSError):
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    return None


def _write(path: Path, known: dict[str, tuple[_State, Results]]) -> None:
    """Write rows of one file each: its name and state, numbers as lists, texts as places in lists of all there are."""
    import pyarrow as pa

    results = [entry for _, entry in known.values()]
    offsets = np.concatenate([[0], np.cumsum([len(entry) for entry in results])])
    columns: dict[str, pa.Array] = {
        "file": pa.array(list(known)),
        "size": pa.array([state[0] for state, _ in known.values()], pa.int64()),
        "changed": pa.array([state[1] for state, _ in known.values()], pa.int64()),
    }
    for name in NUMBERS:
        values = np.concatenate([np.empty(0), *(entry.numbers[name] for entry in results)])
        columns[name] = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))
    vocabulary: dict[str, int] = {}
    said = [vocabulary.setdefault(word, len(vocabulary)) for entry in results for word in entry.words[_ANSWER]]
    columns[_ANSWER] = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(said, pa.int32()))
    words: dict[str, list[tuple[str, ...]] | list[str]] = {_ANSWER: list(vocabulary)}
    for name in _SHARED:
        places: dict[tuple[str, ...], int] = {}
        columns[name] = pa.array([places.setdefault(entry.words[name], len(places)) for entry in results], pa.int32())
        words[name] = list(places)
    table = pa.table(columns).replace_schema_metadata({"words": json.dumps(words)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue()
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(_digest(body).encode())
        file.write(body)


def _rows(path: Path) -> Iterator[tuple[str, tuple[_State, Results]]]:
    """What was written; numbers stay in the mapped file until they are asked for.

    Raises:
        DataError: it is not what was written.
    """
    import pyarrow as pa

    with open(path, "rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    body = mapped[_HEADER:]
    if _digest(body).encode() != bytes(mapped[:_HEADER]):
        raise DataError("it is not what was written")
    table = pa.ipc.open_file(pa.py_buffer(body)).read_all()
    if not table.num_rows:
        return
    words = json.loads(table.schema.metadata[b"words"])
    shared = {name: [tuple(map(sys.intern, row)) for row in words[name]] for name in _SHARED}
    places = {name: table.column(name).to_pylist() for name in _SHARED}
    lists = {name: table.column(name).chunk(0) for name in (*NUMBERS, _ANSWER)}
    offsets = lists[_ANSWER].offsets.to_pylist()
    values = {name: column.values.to_numpy(zero_copy_only=True) for name, column in lists.items()}
    vocabulary = [*map(sys.intern, words[_ANSWER])]
    states = zip(table.column("size").to_pylist(), table.column("changed").to_pylist(), strict=True)
    for row, (file_name, state) in enumerate(zip(table.column("file").to_pylist(), states, strict=True)):
        span = slice(offsets[row], offsets[row + 1])
        of_row = {name: shared[name][places[name][row]] for name in _SHARED}
        of_row[_ANSWER] = tuple(map(vocabulary.__getitem__, values[_ANSWER][span].tolist()))
        yield file_name, (state, Results.of_columns(of_row, {name: values[name][span] for name in NUMBERS}))


def _digest(body: object) -> str:
    return hashlib.blake2b(memoryview(body), digest_size=32).hexdigest()  # type: ignore[arg-type]
