"""What an evaluator that is left out means: the embedded model on the embedded benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotc.evaluate.builtin import BuiltinEvaluator


def embedded_evaluator(seed: int = 0) -> BuiltinEvaluator:
    """The embedded model on the embedded benchmark.

    It is imported here and not above, so that what is wrong with a request is told before torch is loaded.

    Args:
        seed: of the splits.
    """
    from autotc.evaluate.builtin import BuiltinEvaluator

    return BuiltinEvaluator(seed=seed)
