"""How an answer is scored against the right one."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.errors import AutotcError, DataError, one_line, quote
from autotc.evaluate import measures
from autotc.names import nearest

Metric = Callable[[str, str], float]
"""Score in [0, 1] of what the model said against the right answer."""


METRICS: dict[str, Metric] = {
    "exact": measures.exact,
    "contains": measures.contains,
    "anls": measures.anls,
    "relaxed_accuracy": measures.relaxed_accuracy,
    "vqa": measures.vqa,
    "choice": measures.choice,
    "iou": measures.iou,
    "iou@0.5": measures.iou_at_50,
    "wer": measures.wer,
}
KNOWN = f"{', '.join(METRICS)} or module:function"
"""Names of metrics, for errors and help."""


def score_best(metric: Metric, said: str, answers: Sequence[str]) -> float:
    """Score in [0, 1] against several right answers: the best, or what a metric makes of all of them.

    Args:
        metric: of (said, right).
        said: by the model.
        answers: all that are right, at least one.
    """
    if metric is measures.vqa:
        return measures.vqa_accuracy(said, answers)
    return max(metric(said, right) for right in answers)


def check_answers(metric: Metric | None, answers: Sequence[str]) -> None:
    """See that right answers are ones that a metric can score.

    Args:
        metric: one of `METRICS`; nothing is known of others.
        answers: all that are right.

    Raises:
        DataError: one of them is not.
        MissingDependencyError: what the metric needs is not installed.
    """
    name = next((name for name, known in METRICS.items() if metric is known), None)
    if name is None or metric is None:
        return
    for answer in answers:
        metric(answer, answer)


def find_metric(name: str) -> Metric:
    """A metric by name: one of `METRICS`, or ``module:function`` of the user's own.

    A function of the user's own takes (said, right) and returns a score in [0, 1]; the module is found as ``python``
    would find it in the current folder. What module and function print goes to stderr.

    Raises:
        DataError: the name is unknown, or the function cannot be imported or takes other arguments; the metric that
            comes back raises it where the function fails or returns something else.
    """
    if name in METRICS:
        return METRICS[name]
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        hint = nearest(name, METRICS, listed=0) or f"known: {KNOWN}"
        raise DataError(f"metric: {quote(name)} is unknown; {hint}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            function = getattr(importlib.import_module(module_name), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the module does as it is imported, leaving included
        raise DataError(f"metric: {quote(name)} cannot be imported ({_told(error)}); known: {KNOWN}") from error
    if not callable(function):
        raise DataError(f"metric: {quote(name)} is not a function; known: {KNOWN}")
    return checked_metric(function, quote(name).strip("'"))


def metric_of(metric: str | Metric) -> Metric:
    """A metric from its name, or from a function, whose failures are told in one line.

    Raises:
        DataError: as `find_metric`.
    """
    if isinstance(metric, str):
        return find_metric(metric)
    if metric in METRICS.values() or getattr(metric, "checked", False):
        return metric
    return checked_metric(metric, getattr(metric, "__name__", type(metric).__name__))


def checked_metric(function: Callable[..., Any], name: str) -> Metric:
    """A function of the user's own as a metric whose failures are told in one line.

    Args:
        function: of (said, right).
        name: of it, for errors.

    Raises:
        DataError: it does not take two arguments.
    """
    # Functions that are written in C may tell no signature.
    with contextlib.suppress(ValueError):
        try:
            inspect.signature(function).bind("said", "right")
        except TypeError as error:
            raise DataError(f"metric: {name} does not take (said, right): {one_line(error, 120)}") from error

    @functools.wraps(function)
    def checked(said: str, right: str) -> float:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                score = function(said, right)
        except (KeyboardInterrupt, AutotcError):
            raise
        except BaseException as error:
            raise DataError(f"metric: {name} fails on ({quote(said)}, {quote(right)}): {_told(error)}") from error
        try:
            value = float(score)
        except (TypeError, ValueError, OverflowError):
            value = float("nan")
        if isinstance(score, str) or not np.isscalar(score) or not 0 <= value <= 1:
            raise DataError(f"metric: {name} returned {quote(score)}; a number in [0, 1] is expected")
        return value

    checked.checked = True  # type: ignore[attr-defined]
    return checked


def _told(error: BaseException) -> str:
    """Class and text of an error; of one of syntax also where it is."""
    where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {one_line(error, 120)}{where}"
