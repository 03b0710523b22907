"""Learn what prefill costs on a device: short runs of all kinds of work, and a check on policies that were not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from autotc.bench.calibration_runs import CalibrationRun, held_out_runs, training_runs
from autotc.bench.cases import TEXT, as_one_line
from autotc.cost import request_shapes
from autotc.latency import LatencyModel, Sample, fit
from autotc.models import bind
from autotc.models.synthetic import random_request
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.ranges import check_count
from autotc.runtime import apply
from autotc.timing import timed_prefill
from autotc.vocabulary import Modality

_PASSES = 2
"""Times that a calibration goes through all of its runs, so that what else the machine does falls on all alike."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How a device is calibrated.

    Attributes:
        tokens: media tokens of a usual request; runs are taken from a quarter of it to twice as much.
        batch: rows of a request.
        repeats: runs of each kind, each beside one of the same request without a policy. What counts is the median of
            their ratios: a machine whose speed changes while it is measured changes both.
        held_out: policies to check the predictions on, drawn at random.
        seed: of those.

    Raises:
        DataError: a number is no whole number from 1 (of the seed: from 0).
    """

    tokens: int
    batch: int = 1
    repeats: int = 4
    held_out: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "batch", "repeats", "held_out"):
            check_count(getattr(self, name), name)
        check_count(self.seed, "seed", least=0)


def calibrate_model(
    model: nn.Module,
    mechanisms: Sequence[str],
    settings: CalibrationSettings,
    progress: Progress | None = None,
) -> LatencyModel:
    """Learn what prefill costs on the model's device.

    Args:
        model: of a supported family, in eval mode.
        mechanisms: to learn, at every place where the model can run them; the control ``random`` is always among them.
        settings: sizes and repeats.
        progress: called as runs are done.

    Raises:
        PolicyError: a mechanism is unknown.
        DataError: the model cannot run a request.
    """
    seen = training_runs(model, mechanisms, settings.tokens)
    rng = np.random.default_rng(settings.seed)
    unseen = held_out_runs(model, mechanisms, settings.tokens, settings.held_out, rng)
    runs = [*seen, *unseen]
    requests: dict[tuple[Modality, int], dict[str, Tensor]] = {}
    for modality, count, _ in runs:
        if (modality, count) not in requests:
            with as_one_line(f"{modality} {count}"):
                requests[modality, count] = random_request(model, {modality: count}, text=TEXT, batch=settings.batch)
    scale, shares = _timed_runs(model, runs, requests, settings.repeats, progress)
    bound = bind(model)
    samples = []
    for (modality, count, policy), share in zip(runs, shares, strict=True):
        total, scoring = scale * np.median(np.array(share), axis=0)
        shapes = request_shapes(bound, requests[modality, count])
        samples.append(Sample(policy, shapes, float(total), float(scoring)))
    names = [f"{modality} {count}" for modality, count, _ in unseen]
    return fit(model, samples[: len(seen)], list(zip(names, samples[len(seen) :], strict=True)))


def _timed_runs(
    model: nn.Module,
    runs: Sequence[CalibrationRun],
    requests: Mapping[tuple[Modality, int], Mapping[str, Tensor]],
    repeats: int,
    progress: Progress | None,
) -> tuple[float, list[list[tuple[float, float]]]]:
    """Milliseconds of the reference request, and (total, scoring) of each run's repeats, relative to it."""
    reference = requests[runs[0][:2]]
    usual: list[float] = []
    shares: list[list[tuple[float, float]]] = [[] for _ in runs]
    for turn in range(_PASSES):
        for i, (modality, count, policy) in enumerate(runs):
            request = requests[modality, count]
            with as_one_line(f"{modality} {count}"):
                _timed(model, policy, request)  # the first of a new shape also makes kernels
                for _ in range(-(-repeats // _PASSES)):
                    before, _ = _timed(model, UNCOMPRESSED, reference)
                    total, scoring = _timed(model, policy, request)
                    usual.append(before)
                    shares[i].append((total / before, scoring / before))
            if progress is not None:
                progress(turn * len(runs) + i + 1, _PASSES * len(runs))
    return 1e3 * float(np.median(usual)), shares


def _timed(model: nn.Module, policy: Policy, request: Mapping[str, Tensor]) -> tuple[float, float]:
    """Seconds of a prefill, and of them those on scores and mechanisms."""
    with apply(model, policy) as handle:
        handle.synchronise_scoring()
        seconds = timed_prefill(model, request)
        return seconds, sum(handle.scoring_seconds)
