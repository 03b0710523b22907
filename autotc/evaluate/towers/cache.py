"""A folder of towers' outputs that the processes of a machine share."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autotc.errors import AutotcWarning, DataError
from autotc.evaluate.towers.files import DamagedError, read_packed, write_packed
from autotc.evaluate.towers.packing import Packed

_SUFFIX = ".safetensors"
_TOUCHED_SECONDS = 600.0
"""After which an entry that is used is marked as used again."""
_ABANDONED_SECONDS = 3600.0
"""After which a file that is being written beside is taken for one whose writer has died."""

_CLOCK_SECONDS = 2.0
"""By which a file system's times may be behind the clock, or coarse."""


@dataclass
class TowerCache:
    """Outputs of towers in files of a folder, each by a key; any number of processes may use it at once.

    Where several write one entry, the last one stays: they hold the same. What is removed to stay within the limit are
    entries that no process has used since this one began, the longest unused first; where that is not enough, nothing
    more is written, since what would be removed will be asked for again. Nothing that goes wrong with the folder ends a
    run: it is told in one line, and the towers run.

    Attributes:
        folder: made when the first entry is written.
        limit: bytes of all its files.
    """

    folder: Path
    limit: int
    _since: float = field(default_factory=lambda: time.time() - _CLOCK_SECONDS)
    _writing: bool = True
    _checked: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _touched: dict[Path, float] = field(default_factory=dict)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def get(self, key: str) -> Packed | None:
        """An entry, or None. Its checksum is compared when this process first uses it.

        A damaged entry is named in a warning and removed.
        """
        path = self._path(key)
        try:
            status = path.stat()
            file = status.st_ino, status.st_size
            packed = read_packed(path, key, verify=self._checked.get(path) != file)
        except DamagedError as error:
            _tell(
                f"{path}: is damaged ({error}); it is removed and made anew; if that happens again, look after the disk"
                " or give another --tower-cache"
            )
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:  # it is not there, or not any more
            return None
        self._checked[path] = file
        self._touch(path)
        return packed

    def _touch(self, path: Path) -> None:
        """Mark an entry as used."""
        now = time.monotonic()
        if now - self._touched.get(path, -_TOUCHED_SECONDS) >= _TOUCHED_SECONDS:
            self._touched[path] = now
            with suppress(OSError):  # it was removed, or the folder is another user's
                os.utime(path)

    def put(self, key: str, packed: Packed) -> bool:
        """Keep an entry; returns whether it was written."""
        if not self._writing:
            return False
        path = self._path(key)
        try:
            if not self._make_room(packed.nbytes):
                return False
            write_packed(path, key, packed)
            status = path.stat()
        except (OSError, DataError) as error:
            self._stop(f"{error}; no more is written there")
            return False
        except TypeError:  # values that files do not hold
            return False
        self._checked[path] = status.st_ino, status.st_size
        self._touched[path] = time.monotonic()
        return True

    def _make_room(self, nbytes: int) -> bool:
        """Remove what has not been used for long until so many more bytes are within the limit; whether they are."""
        now = time.time()
        entries = [(status.st_mtime, status.st_size, path) for path, status in self._files()]
        total = nbytes + sum(size for _, size, _ in entries)
        for used, size, path in sorted(entries):
            hidden = path.name.startswith(".")
            if (hidden and now - used > _ABANDONED_SECONDS) or (
                total > self.limit and not hidden and used < self._since
            ):
                with suppress(OSError):  # another process was faster
                    path.unlink()
                total -= size
        if total > self.limit:
            self._stop(
                f"{self.folder}: all of its {self.limit / 1e9:g} GB are in use; no more is written there; a higher"
                " AUTOTC_TOWER_CACHE_LIMIT, in GB, makes room"
            )
        return total <= self.limit

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Entries and what is being written, with their status."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    with suppress(FileNotFoundError):
                        yield Path(entry.path), entry.stat()

    def _stop(self, why: str) -> None:
        self._writing = False
        _tell(why)


def _tell(message: str) -> None:
    warnings.warn(f"towers' outputs: {message}", AutotcWarning, stacklevel=2)
