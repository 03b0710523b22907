"""Predicted conflicts as the search asks for them."""

from __future__ import annotations

from autotc.conflicts.predicted import CONFLICT_THRESHOLD, forwards_run, predict
from autotc.evaluate.base import Evaluator
from autotc.policy import Policy
from autotc.search.engine import ConflictPredictor


def conflict_predictor(evaluator: Evaluator) -> ConflictPredictor | None:
    """Tells of a stack why it is predicted to do worse than the better of its stages; None without a model to watch."""
    observable = evaluator.observable()
    if observable is None:
        return None

    def ask(stack: Policy) -> str | None:
        prediction = predict(observable, stack)
        return prediction.reason if prediction.score > CONFLICT_THRESHOLD else None

    return ask


def calibration_forwards(evaluator: Evaluator) -> int:
    """Samples that were run to predict conflicts since the evaluator was made."""
    return forwards_run(evaluator)
