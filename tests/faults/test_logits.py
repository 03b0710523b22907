"""Models and policies whose logits are no numbers are told, never scored."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotc.errors import DataError, MechanismError, NotFiniteError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.tiny import load

HALF = Policy.of([Stage(modality="image", location="projector", mechanism="uniform_stride", keep_ratio=0.5)])


@pytest.fixture
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator(*load(), batch_size=4)


def poison(evaluator: BuiltinEvaluator, rows: slice, lengths: range) -> Any:
    """Let prefills of some lengths end in NaN, in some rows of a batch."""

    def spoil(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        if args[0].shape[1] in lengths:
            output = output.clone()
            output[rows] = torch.nan
        return output

    return evaluator.loaded.get_output_embeddings().register_forward_hook(spoil)


def test_a_model_that_overflows(evaluator: BuiltinEvaluator) -> None:
    poison(evaluator, slice(None), range(1, 10_000))
    with pytest.raises(
        DataError, match=r"4 of 4 samples gave logits that are not finite \(val-image-0000, .* and 1 more"
    ):
        evaluator.run(UNCOMPRESSED, "val", limit=4, groups=["image"])
    with pytest.raises(DataError, match="without a policy: the weights may be damaged"):
        evaluator.run(HALF, "val", limit=4, groups=["image"])


def test_one_sample_that_overflows_is_named(evaluator: BuiltinEvaluator) -> None:
    poison(evaluator, slice(2, 3), range(10, 10_000))
    with pytest.raises(DataError, match="1 of 4 samples gave logits that are not finite"):
        evaluator.run(UNCOMPRESSED, "val", limit=4, groups=["image"])


def test_a_policy_that_overflows_where_the_model_does_not(evaluator: BuiltinEvaluator) -> None:
    (bare,) = {tuple(batch.inputs["input_ids"].shape) for batch in evaluator.prepared(UNCOMPRESSED, "val", "image", 4)}
    poison(evaluator, slice(None), range(10, bare[1] - 10))
    assert len(evaluator.run(UNCOMPRESSED, "val", limit=4, groups=["image"])) == 4
    with pytest.raises(
        NotFiniteError, match=r"uniform_stride.*4 of 4 samples.*where the uncompressed model's are finite"
    ):
        evaluator.run(HALF, "val", limit=4, groups=["image"])
    assert issubclass(NotFiniteError, MechanismError)  # it fails a trial, not the study
