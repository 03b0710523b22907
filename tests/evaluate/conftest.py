"""What tests of several evaluators look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Gives, for an evaluator, the list of how many samples each of its later batches is prepared from."""

    def watch(evaluator: Any) -> list[int]:
        sizes: list[int] = []
        process = evaluator.batches.inputs

        def counted(samples: Any, call: Any) -> Any:
            sizes.append(len(samples))
            return process(samples, call)

        monkeypatch.setattr(evaluator.batches, "inputs", counted)
        return sizes

    return watch
