"""Search: spaces, the study, and what it returns. The package is callable: ``autotc.search(evaluator, budget=0.5)``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

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


class _CallablePackage(ModuleType):
    """The package's name is also that of its main function; both ``autotc.search(...)`` and submodules work."""

    def __call__(self, *args: Any, **kwargs: Any) -> SearchResult:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
