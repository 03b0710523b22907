"""Where towers' outputs are kept, and how much of them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

from autotc.errors import DataError, quote
from autotc.evaluate.towers.cache import TowerCache
from autotc.files import check_writable_folder

VARIABLE, LIMIT_VARIABLE = "AUTOTC_TOWER_CACHE", "AUTOTC_TOWER_CACHE_LIMIT"
"""Environment variables: a folder or `OFF`, and gigabytes."""
OFF = "off"
_GIGABYTES = 10.0


def cache_of(place: str | Path | None = None) -> TowerCache | None:
    """The cache at a place; None where there shall be none.

    Args:
        place: a folder, or ``off``; None takes that of the environment's `AUTOTC_TOWER_CACHE`, or ``autotc/towers`` in
            the user's cache folder, which outlasts a study: later searches, ``eval`` and ``compare`` on the same
            samples find what this one has made.

    Raises:
        DataError: the folder cannot be written to, or the limit is no number above 0.
    """
    named = place if place is not None else os.environ.get(VARIABLE, "").strip() or None
    if named is not None and str(named) == OFF:
        return None
    if named is not None:
        option = "--tower-cache" if place is not None else VARIABLE
        if not str(named):
            raise DataError(f"{option}: no name is given; a folder, or {OFF}, is right")
        check_writable_folder(named, option)
        return TowerCache(Path(named), _limit())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return TowerCache(Path(home) / "autotc" / "towers", _limit())


def _limit() -> int:
    """Bytes that a cache may hold."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or str(_GIGABYTES)
    with suppress(ValueError):
        value = float(text)
        if 0 < value < math.inf:
            return round(value * 1e9)
    raise DataError(f"{LIMIT_VARIABLE}: {quote(text)} given; gigabytes above 0, e.g. 20, are right")
