"""Search: spaces, the study, and what it returns."""

from __future__ import annotations

from autotc.search.space import SearchSpace, SpaceError
from autotc.search.study import FrontRow, SearchError, SearchInterrupted, SearchProgress, SearchResult, search

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
