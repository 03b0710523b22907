"""Files that are whole or not there: bounded reads of regular files, and writes beside that are renamed into place."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autotc.errors import AutotcError, DataError, quote

READ_LIMIT = 64 * 2**20
"""Bytes of the largest text file that is read."""


def read_bytes(
    path: str | Path, wanted: str, *, limit: int = READ_LIMIT, error: type[AutotcError] = DataError
) -> bytes:
    """Bytes of a regular file.

    Args:
        path: of the file.
        wanted: what it should be, for errors.
        limit: bytes that it may hold.
        error: class of the error to raise.

    Raises:
        error: it is missing, no regular file (a folder, a device, a pipe), larger than the limit, or cannot be read.
    """
    name = quote(os.fspath(path), 120).strip("'")
    try:
        # Looked at before it is opened: opening a pipe waits for a writer.
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{name}: is a directory; {wanted} is expected")
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{name}: is no regular file; {wanted} is expected")
        if status.st_size > limit:
            raise error(f"{name}: holds {status.st_size:,} bytes; {wanted} of at most {limit:,} is expected")
        with open(path, "rb") as file:
            return file.read(limit + 1)[:limit]
    except FileNotFoundError as cause:
        raise error(f"{name}: no such file; {wanted} is expected") from cause
    except (OSError, ValueError) as cause:  # a name too long, one with a NUL, no permission
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{name}: cannot be read ({reason}); {wanted} is expected") from cause


def read_text(path: str | Path, wanted: str, *, limit: int = READ_LIMIT, error: type[AutotcError] = DataError) -> str:
    """Text of a regular file in UTF-8; arguments and errors as of `read_bytes`."""
    data = read_bytes(path, wanted, limit=limit, error=error)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{path}: is no UTF-8 text (byte {cause.start}); {wanted} is expected") from cause


@contextmanager
def replacing(path: str | Path, option: str | None = None) -> Iterator[Path]:
    """A path beside a file, to write to; it takes the file's place when the block ends well, synced to the disk.

    Until then what stood there stays whole, also where the disk is full or the process is killed. The folder is made;
    what is no regular file (a device, a pipe) is left alone.

    Args:
        path: of the file.
        option: that named it, for errors, e.g. ``--out``.

    Raises:
        DataError: it cannot be written.
    """
    named = quote(os.fspath(path), 120).strip("'")
    named = f"{option}: {named}" if option else named
    beside: Path | None = None
    try:
        if not os.fspath(path):
            raise ValueError("no name is given")
        # The file that a link leads to is replaced, not the link.
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and not path.is_file():
            raise ValueError("a directory" if path.is_dir() else "no regular file")
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
        beside.chmod(mode)
        beside.replace(path)
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or cause
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room, or give another file" if full else "give another file"
        raise DataError(f"{named} cannot be written ({reason}); {hint}") from cause
    finally:
        if beside is not None:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str, option: str | None = None) -> Path:
    """Write a text file whole or not at all; returns its path. Errors as of `replacing`."""
    with replacing(path, option) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def check_writable_folder(path: str | Path, option: str) -> None:
    """See that a folder can be made and written to, before work begins; nothing is made.

    Args:
        path: of the folder, which need not exist.
        option: that named it, for errors, e.g. ``--runs``.

    Raises:
        DataError: it, or what it would be made in, is no folder or cannot be written to.
    """
    shown = quote(os.fspath(path), 120).strip("'")
    try:
        if "\0" in os.fspath(path):
            raise ValueError("a name with a NUL")
        nearest = Path(path).absolute()
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        right = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, ValueError) as cause:  # a name too long, one with a NUL
        reason = getattr(cause, "strerror", None) or cause
        raise DataError(f"{option}: {shown} cannot be made ({reason}); give another folder") from cause
    if not right:
        what = "cannot be written to" if nearest.is_dir() else "is no folder"
        raise DataError(f"{option}: {shown} cannot be used ({nearest.name or nearest} {what}); give another folder")
