"""Predictions of conflicts on logits that are no numbers: never a score, the trial or the pair is named."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from autotc.conflicts.predicted import ConflictPredictor
from autotc.errors import DataError, NotFiniteError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import Policy, Stage
from autotc.search.prediction import StackJudge

STACK = Policy(
    stages=(
        Stage(modality="image", location="projector", mechanism="uniform_stride", keep_ratio=0.5),
        Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=0.25),
    )
)


def spoil(evaluator: BuiltinEvaluator, value: float, shorter_than: int) -> Any:
    """Let prefills of fewer tokens end in a value that is no number."""

    def hook(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.full_like(output, value) if args[0].shape[1] < shorter_than else output

    return evaluator.loaded.get_output_embeddings().register_forward_hook(hook)


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_stack_that_overflows(evaluator: BuiltinEvaluator, value: float) -> None:
    length = evaluator.request(Policy(), "search", "image", 2)["input_ids"].shape[1]
    hook = spoil(evaluator, value, length)
    try:
        with pytest.raises(NotFiniteError, match=r"fastv 0\.25: calibration samples gave logits that are not finite"):
            ConflictPredictor(evaluator, 2).predict(STACK)
        # The search lets its trial run, which then fails by name.
        assert StackJudge(evaluator)(STACK) is None
    finally:
        hook.remove()


def test_a_model_that_overflows(evaluator: BuiltinEvaluator) -> None:
    hook = spoil(evaluator, math.nan, 10_000)
    try:
        with pytest.raises(DataError, match="the uncompressed model's logits are not finite"):
            ConflictPredictor(evaluator, 2).predict(STACK)
    finally:
        hook.remove()
