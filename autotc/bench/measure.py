"""Measure a policy beside the uncompressed model: times, memory, tokens, and what its FLOPs promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from autotc.bench.cases import Case, as_one_line
from autotc.bench.generation import prefill_flops, timed_generation
from autotc.bench.memory import prefill_memory
from autotc.cost import prefill_cost, request_shapes
from autotc.models import bind
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.records.bench import BenchRow, SideMeasurement
from autotc.runtime import apply
from autotc.statistics import median_ratio_interval
from autotc.timing import alternate_policies, prefill, timed_prefill

REPEATS = 5
NEW_TOKENS = 16

Memory = tuple[int, int]
"""Bytes: working memory of a prefill, and the cache that it fills."""


def measure_cases(
    model: nn.Module,
    policy: Policy,
    cases: Sequence[Case],
    *,
    repeats: int = REPEATS,
    new_tokens: int = NEW_TOKENS,
    progress: Progress | None = None,
) -> list[BenchRow]:
    """Measure a policy beside the uncompressed model, in turn in one run.

    Args:
        model: of a supported family, in eval mode.
        policy: to measure.
        cases: batches, e.g. of `synthetic_cases`.
        repeats: pairs of each case, behind one that warms up.
        new_tokens: that ``generate()`` makes, at least 2.
        progress: called as runs are done.

    Raises:
        PolicyError: the policy does not fit the model.
        DataError: the model cannot run a request.
    """
    rows: list[BenchRow] = []
    runs = 4 * (repeats + 1)  # of a case: pairs of prefills and of generations, the first of which warm up
    done = 0

    def ran() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, runs * (len(rows) + 1)), runs * len(cases))

    for case in cases:
        with as_one_line(case.name):
            rows.append(measure_case(model, policy, case, repeats, new_tokens, ran))
    return rows


def measure_case(
    model: nn.Module, policy: Policy, case: Case, repeats: int, new_tokens: int, ran: Callable[[], None] = lambda: None
) -> BenchRow:
    """Measure one batch; ``ran`` is called after each run, other arguments and errors as of `measure_cases`."""

    def forward(inputs: Mapping[str, Tensor]) -> float:
        seconds = timed_prefill(model, inputs)
        ran()
        return seconds

    def generate(inputs: Mapping[str, Tensor]) -> list[float]:
        seconds = timed_generation(model, inputs, new_tokens)
        ran()
        return seconds

    bound = bind(model)
    shapes = request_shapes(bound, case.baseline)
    forwards = alternate_policies(model, policy, case.inputs, case.baseline, repeats, forward)
    generated = alternate_policies(model, policy, case.inputs, case.baseline, repeats, generate)
    scoring_ms, memory, stages = _under_policy(model, policy, case, repeats)
    sides = []
    for side, (plan, held) in enumerate(((policy, memory), (UNCOMPRESSED, prefill_memory(model, case.baseline)))):
        cost = prefill_cost(bound, plan, shapes)
        first, later = np.median(np.array(generated[side]), axis=0)
        sides.append(
            SideMeasurement(
                prefill_ms=1e3 * float(np.median(forwards[side])),
                first_token_ms=1e3 * float(first),
                output_token_ms=1e3 * float(later),
                peak_bytes=held[0],
                kv_bytes=held[1],
                layer_tokens=cost.lengths,
                flops=prefill_flops(cost, len(shapes), cost.lengths[-1]),
            )
        )
    compressed, baseline = sides
    return BenchRow(
        case=case.name,
        batch=len(shapes),
        length=max(shape.tokens for shape in shapes),
        policy=compressed,
        baseline=baseline,
        speedup=median_ratio_interval(*forwards),
        predicted_speedup=baseline.flops / compressed.flops,
        scoring_ms=scoring_ms,
        stages=stages,
    )


def _under_policy(
    model: nn.Module, policy: Policy, case: Case, repeats: int
) -> tuple[float, Memory, tuple[Mapping[str, Any], ...]]:
    """Milliseconds of a prefill spent on scoring (median), its memory, and what each stage did."""
    with apply(model, policy) as handle:
        handle.synchronise_scoring()
        scoring = []
        for _ in range(repeats + 1):
            prefill(model, case.inputs)
            scoring.append(sum(handle.scoring_seconds))
            handle.scoring_seconds.clear()
        memory = prefill_memory(model, case.inputs)
        stages = tuple(vars(record) for record in handle.stats[-1]) if policy.stages else ()
    return 1e3 * float(np.median(scoring[1:])), memory, stages
