"""Search: spaces, the study, and what it returns."""

from __future__ import annotations

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
