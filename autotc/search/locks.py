"""One holder at a time: of a study while it is searched, of a runs folder while a study is made in it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autotc.errors import MissingDependencyError
from autotc.search.errors import SearchError

LOCK, HOLDER = ".lock", ".holder.json"
_SECONDS = 120.0
"""That a process waits for another to make its study."""
_OWN: set[Path] = set()
"""Folders that this process holds. The system's lock is asked beside it, since it alone knows of other processes."""


@contextmanager
def hold_study(folder: Path, study: str) -> Iterator[None]:
    """Be the one process that searches a study.

    The lock is the operating system's: it ends with the process that holds it, however that ends.

    Args:
        folder: of the study.
        study: its name.

    Raises:
        SearchError: it is being searched, here or by another process; the message names it.
    """
    own = folder.resolve()
    with _held(folder / LOCK, 0.0) as held:
        holder = folder / HOLDER
        if not held or own in _OWN:
            raise SearchError(f"study {study}: is being searched by {_named(holder)}; wait for its end, or end it")
        _OWN.add(own)
        try:
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
            yield
        finally:
            _OWN.discard(own)
            with suppress(OSError):
                holder.unlink(missing_ok=True)


@contextmanager
def hold_runs(runs: Path) -> Iterator[None]:
    """Be the one process that makes databases and studies in a folder; waits for another.

    Raises:
        SearchError: another process does not come to an end.
    """
    with _held(runs / LOCK, _SECONDS) as held:
        if not held:
            raise SearchError(f"{runs}: another process has been making a study there for {_SECONDS:g} s; end it first")
        yield


@contextmanager
def _held(path: Path, seconds: float) -> Iterator[bool]:
    """Hold a lock file, if it can be had within so many seconds."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise MissingDependencyError("filelock: not installed; pip install 'autotc[search]' brings it") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=seconds)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise SearchError(f"{path.parent}: cannot be written ({error.strerror}); give another --runs") from error
    try:
        yield True
    finally:
        lock.release()


def _named(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {int(told['pid'])} on {str(told['host'])[:60]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
