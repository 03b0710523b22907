"""Predicted conflicts as the search asks for them."""

from __future__ import annotations

from autotc.conflicts.predicted import CONFLICT_THRESHOLD, ConflictPredictor
from autotc.errors import MechanismError
from autotc.evaluate.base import Evaluator, ObservableEvaluator
from autotc.policy import Policy


class StackJudge:
    """Tells of a stack why it is predicted to do worse than the better of its stages.

    Args:
        evaluator: model and samples.
    """

    def __init__(self, evaluator: ObservableEvaluator) -> None:
        self._predictor = ConflictPredictor(evaluator)

    def __call__(self, stack: Policy) -> str | None:
        """The reason, or None where no conflict is predicted.

        None too where the stack fails on the calibration samples: its trial then fails by name.
        """
        try:
            prediction = self._predictor.predict(stack)
        except MechanismError:
            return None
        return prediction.reason if prediction.score > CONFLICT_THRESHOLD else None

    @property
    def forwards(self) -> int:
        """Samples that were run to predict so far."""
        return self._predictor.forwards


def stack_judge(evaluator: Evaluator) -> StackJudge | None:
    """A judge of an evaluator's stacks; None where there is no model to watch."""
    observable = evaluator.observable()
    return None if observable is None else StackJudge(observable)
