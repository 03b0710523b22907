"""How an answer is scored against the right one."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autotc.errors import DataError

Metric = Callable[[str, str], float]
"""Score in [0, 1] of what the model said against the right answer."""


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def exact(said: str, right: str) -> float:
    """1 where both are equal but for case and white space."""
    return float(_normalised(said) == _normalised(right))


def contains(said: str, right: str) -> float:
    """1 where the right answer stands in what was said as whole words (``1`` is not in ``10``), case ignored."""
    return float(re.search(rf"(?<!\w){re.escape(_normalised(right))}(?!\w)", _normalised(said)) is not None)


METRICS: dict[str, Metric] = {"exact": exact, "contains": contains}


def find_metric(name: str) -> Metric:
    """A metric by name: ``exact``, ``contains``, or ``module:function`` of the user's own.

    A function of the user's own takes (said, right) and returns a score in [0, 1]; the module is found as ``python``
    would find it in the current folder.

    Raises:
        DataError: the name is unknown, or the function cannot be imported or returns something else.
    """
    if name in METRICS:
        return METRICS[name]
    known = "exact, contains or module:function"
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise DataError(f"metric: {name!r} is unknown; known: {known}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"metric: {name!r} cannot be imported ({error}); known: {known}") from error
    if not callable(function):
        raise DataError(f"metric: {name!r} is not a function; known: {known}")

    def checked(said: str, right: str) -> float:
        score = function(said, right)
        if isinstance(score, str) or not np.isscalar(score) or not 0 <= float(score) <= 1:  # type: ignore[arg-type]
            raise DataError(f"metric: {name} returned {score!r}; a number in [0, 1] is expected")
        return float(score)  # type: ignore[arg-type]

    return checked
