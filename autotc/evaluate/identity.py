"""What results depend on beside the model: how answers are scored, and the bytes of the media."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import stat
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from autotc.errors import DataError
from autotc.evaluate.metrics import METRICS

WHOLE_BYTES = 2**20
"""Files up to this size are hashed whole; of larger ones, pieces."""
_PIECES = 16
"""Pieces of a larger file, evenly spread over it, its beginning and its end among them."""
_PIECE_BYTES = 2**14


def metric_identity(metric: Callable[..., Any]) -> str:
    """How answers are scored: a known metric by name, a function by its place and a hash of its source."""
    for name, known in METRICS.items():
        if metric is known:
            return name
    function = inspect.unwrap(metric)
    place = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
    try:
        source = inspect.getsource(function).encode()
    except (OSError, TypeError):  # typed in a console, or written in C
        code = getattr(function, "__code__", None)
        source = b"" if code is None else code.co_code + repr(code.co_consts).encode()
    return f"{place} {hashlib.sha256(source).hexdigest()[:12]}"


def media_digest(paths: Iterable[Path]) -> str:
    """``sha256:`` and 32 hexadecimal digits over names, sizes and bytes of files, in order; of a folder, of its files.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in dict.fromkeys(paths):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                _add(digest, file)
            except OSError as error:
                raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    return "sha256:" + digest.hexdigest()[:32]


def same_files(paths: Iterable[Path]) -> dict[Path, Hashable]:
    """Each file's key: equal for links to one file, and for copies of it under other names.

    Only files of equal size are read, large ones in pieces. Folders, and what cannot be looked at, are known by their
    path.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    out: dict[Path, Hashable] = {}
    for path in dict.fromkeys(paths):
        out[path] = path.resolve()
        with contextlib.suppress(OSError, ValueError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                sizes[path] = status.st_size, status.st_mtime_ns
    often = Counter(size for size, _ in {out[path]: sizes[path] for path in sizes}.values())
    for path, (size, changed) in sizes.items():
        if often[size] > 1:
            out[path] = _content(path.resolve(), size, changed)
    return out


@functools.lru_cache(maxsize=2**16)
def _content(path: Path, size: int, changed: int) -> Hashable:
    """Hash of a file's bytes; of one that cannot be read its path."""
    digest = hashlib.sha256(f"{size}\0".encode())
    try:
        _add_bytes(digest, path, size)
    except OSError:
        return path
    return digest.hexdigest()


def _add(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name} {size}\0".encode("utf-8", "surrogateescape"))
    _add_bytes(digest, path, size)


def _add_bytes(digest: Any, path: Path, size: int) -> None:
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            digest.update(file.read(WHOLE_BYTES))
            return
        for piece in range(_PIECES):
            file.seek(piece * (size - _PIECE_BYTES) // (_PIECES - 1))
            digest.update(file.read(_PIECE_BYTES))
