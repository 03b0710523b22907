"""Batches that the device has too little memory for: halved once, then failed by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotc.cli.failures import explain
from autotc.errors import DataError
from autotc.evaluate.batches import Batch
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.tiny import load

HALF = Policy.of([Stage(modality="image", location="projector", mechanism="uniform_stride", keep_ratio=0.5)])
HOST = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.fixture
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator(*load(), batch_size=6)


def narrow(monkeypatch: pytest.MonkeyPatch, evaluator: BuiltinEvaluator, most: int, error: Exception) -> list[int]:
    """Let batches of more than so many samples run out of memory; returns the sizes that were tried."""
    answer, sizes = evaluator.answerer.answer, []

    def tight(policy: Policy, batch: Batch, device: torch.device) -> Any:
        sizes.append(len(batch.samples))
        if len(batch.samples) > most:
            raise error
        return answer(policy, batch, device)

    monkeypatch.setattr(evaluator.answerer, "answer", tight)
    return sizes


@pytest.mark.parametrize("policy", [UNCOMPRESSED, HALF], ids=["uncompressed", "half"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(HOST)], ids=["device", "host"]
)
def test_a_batch_is_halved(
    monkeypatch: pytest.MonkeyPatch, evaluator: BuiltinEvaluator, policy: Policy, error: Exception
) -> None:
    whole = BuiltinEvaluator(*load(), batch_size=6).run(policy, "val", limit=6, groups=["image"])
    sizes = narrow(monkeypatch, evaluator, 3, error)
    halved = evaluator.run(policy, "val", limit=6, groups=["image"])
    assert sizes[:3] == [6, 3, 3]
    assert [(s.id, s.correct) for s in halved.samples] == [(s.id, s.correct) for s in whole.samples]


def test_only_once(monkeypatch: pytest.MonkeyPatch, evaluator: BuiltinEvaluator) -> None:
    sizes = narrow(monkeypatch, evaluator, 2, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        evaluator.run(HALF, "val", limit=6, groups=["image"])
    assert sizes == [6, 3]


def test_another_error_halves_nothing(monkeypatch: pytest.MonkeyPatch, evaluator: BuiltinEvaluator) -> None:
    narrow(monkeypatch, evaluator, 0, RuntimeError("shapes do not match"))
    with pytest.raises(DataError, match="the model does not take it"):
        evaluator.run(UNCOMPRESSED, "val", limit=2, groups=["image"])


def test_what_is_said_at_the_end() -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(HOST)):
        failure = explain(error)
        assert failure.code == 2
        assert "out of memory" in failure.message
        assert "smaller --batch-size" in failure.message
