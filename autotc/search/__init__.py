"""Search: spaces, the study, and what it returns.

Its names are imported when they are first used, so that reading a space loads neither Optuna nor a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotc.search.errors import SearchError, SearchInterrupted
    from autotc.search.progress import SearchProgress
    from autotc.search.result import FrontRow, SearchResult
    from autotc.search.session import search
    from autotc.search.space import SearchSpace, SpaceError

__all__ = [
    "FrontRow",
    "SearchError",
    "SearchInterrupted",
    "SearchProgress",
    "SearchResult",
    "SearchSpace",
    "SpaceError",
    "search",
]

_HOMES = {
    "FrontRow": "autotc.search.result",
    "SearchError": "autotc.search.errors",
    "SearchInterrupted": "autotc.search.errors",
    "SearchProgress": "autotc.search.progress",
    "SearchResult": "autotc.search.result",
    "SearchSpace": "autotc.search.space",
    "SpaceError": "autotc.search.space",
    "search": "autotc.search.session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autotc.search' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
