"""`autotc.bench` and `autotc.calibrate`: what a policy does to the clock, and what predicts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from autotc.bench.calibration import CalibrationSettings, calibrate_model
from autotc.bench.cases import Requests, sample_cases, synthetic_cases
from autotc.bench.measure import NEW_TOKENS, REPEATS, measure_cases
from autotc.errors import PolicyError
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.latency import Device
from autotc.mechanisms import build_mechanism
from autotc.policy import UNCOMPRESSED, Policy, read_policy
from autotc.progress import Progress
from autotc.ranges import check_count
from autotc.records.bench import Bench, LatencyCalibration
from autotc.resources import search_space
from autotc.search.space import SearchSpace
from autotc.tiny import load as load_embedded

TOKENS = 1024
"""Media tokens of a random request, where it is not said."""
EMBEDDED_TOKENS = 96
"""The same of the embedded model."""


def bench(
    policy: Policy | str | Path = UNCOMPRESSED,
    evaluator: ObservableEvaluator | None = None,
    *,
    model: nn.Module | None = None,
    requests: Requests | None = None,
    repeats: int = REPEATS,
    new_tokens: int = NEW_TOKENS,
    progress: Progress | None = None,
) -> Bench:
    """Measure a policy's time and memory beside the uncompressed model's, in turn in one run.

    Args:
        policy: to measure: a policy, its file, or ``none``.
        evaluator: whose first test samples are the requests; None takes the embedded benchmark's.
        model: to measure on random requests, in eval mode; None takes the evaluator's.
        requests: batch sizes and modalities, and for random requests the number of media tokens.
        repeats: pairs of each request, behind one that warms up.
        new_tokens: that ``generate()`` makes, at least 2.
        progress: called as runs are done.

    Raises:
        PolicyError: the policy does not fit the model, or has an input stage where requests are random.
        DataError: the data holds no sample of a modality, or the model cannot run a request.

    Example:
        >>> measured = autotc.bench("policies/tiny-omni-0.4.yaml", repeats=3)  # doctest: +SKIP
        >>> measured.rows[0].speedup.mean  # doctest: +SKIP
    """
    check_count(repeats, "repeats")
    check_count(new_tokens, "new_tokens", least=2)
    requests = Requests() if requests is None else requests
    if model is not None and requests.tokens is None:
        requests = replace(requests, tokens=(TOKENS,))
    name = policy.label() if isinstance(policy, Policy) else str(policy)
    policy = read_policy(policy)
    if requests.tokens is None:
        evaluator = embedded_evaluator() if evaluator is None else evaluator
        model, cases = evaluator.loaded, sample_cases(evaluator, policy, requests)
    else:
        model = load_embedded()[0] if model is None else model
        cases = synthetic_cases(model, policy, requests)
    rows = measure_cases(model, policy, cases, repeats=repeats, new_tokens=new_tokens, progress=progress)
    return Bench(name, policy.label(), Device.of(model).model_dump(), tuple(rows))


def calibrate(
    model: nn.Module | None = None,
    mechanisms: Sequence[str] | None = None,
    *,
    settings: CalibrationSettings | None = None,
    out: str | Path = "runs/latency.json",
    progress: Progress | None = None,
) -> LatencyCalibration:
    """Learn to predict prefill times on the model's device, for searches with a budget in milliseconds.

    Args:
        model: of a supported family, in eval mode; None takes the embedded model.
        mechanisms: to learn; None takes those of the default search space.
        settings: size of a usual request, repeats.
        out: file of the latency model.
        progress: called as runs are done.

    Raises:
        PolicyError: a mechanism is unknown.
        LatencyError: the file cannot be written.
        DataError: the model cannot run a request.

    Example:
        >>> learnt = autotc.calibrate(mechanisms=["fastv", "divprune"])  # doctest: +SKIP
        >>> learnt.latency.errors()  # doctest: +SKIP
    """
    if settings is None:
        settings = CalibrationSettings(EMBEDDED_TOKENS if model is None else TOKENS)
    names = default_mechanisms() if mechanisms is None else list(mechanisms)
    if not names:
        raise PolicyError("mechanisms: none given; name those whose prefill times are to be predicted")
    for name in names:
        build_mechanism(name)
    model = load_embedded()[0] if model is None else model
    latency = calibrate_model(model, names, settings, progress)
    return LatencyCalibration(latency, tuple(names), latency.save(out))


def default_mechanisms() -> list[str]:
    """Mechanisms of the default search space, those at the input left out."""
    space = SearchSpace.load(search_space())
    return sorted({c.mechanism for part in space.modalities.values() for c in part.choices} - {"downsample"})
