"""What a policy does to time and memory: prefill, tokens, caches, beside what its FLOPs promise."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autotc.conflicts.rules import check_rules
from autotc.cost import Cost, prefill_cost, request_shapes
from autotc.errors import PolicyError
from autotc.latency import LatencyModel, Sample, fit
from autotc.mechanisms import build_mechanism
from autotc.models import bind, find_adapter
from autotc.models.synthetic import random_request
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.progress import Progress
from autotc.runtime import apply
from autotc.runtime.cache import CACHE
from autotc.statistics import Interval, median_ratio_interval
from autotc.vocabulary import LOCATION_ORDER, MODALITIES, Location, Modality

REPEATS = 5
NEW_TOKENS = 16
TEXT = 32
_PASSES = 2
"""Times that a calibration goes through all of its runs, so that what else the machine does falls on all alike."""
_SAMPLED_EVERY = 0.002
"""Seconds between two looks at the process's memory, where the device keeps no record."""


@dataclass(frozen=True)
class Case:
    """One batch to measure: the model's arguments under the policy, and without it.

    An input stage makes the two differ; otherwise they are the same.
    """

    name: str
    inputs: Mapping[str, Tensor]
    baseline: Mapping[str, Tensor]


@dataclass(frozen=True)
class Measured:
    """One side of a row.

    Attributes:
        prefill_ms: median time of one forward over the prompt that fills the cache and scores its last position.
        first_token_ms: median time from the call of ``generate()`` to the first token.
        output_token_ms: median time of each token behind the first.
        peak_bytes: working memory of a prefill: the most held, less what was held before it.
        kv_bytes: keys and values in the cache after prefill.
        layer_tokens: tokens in each decoder layer, of a batch's longest row.
        flops: predicted, of the batch's prefill.
    """

    prefill_ms: float
    first_token_ms: float
    output_token_ms: float
    peak_bytes: int
    kv_bytes: int
    layer_tokens: tuple[int, ...]
    flops: float


@dataclass(frozen=True)
class BenchRow:
    """A policy beside the uncompressed model on one batch, both in turn in one run.

    Attributes:
        case: name of the batch.
        batch, length: its rows, and tokens of the longest uncompressed.
        policy, baseline: what was measured.
        speedup: of prefill: median of the pairs' ratios, with its 95% bootstrap interval.
        predicted_speedup: ratio of predicted FLOPs, the LM head at the last position alone, as ``generate()`` runs it.
        scoring_ms: time of a prefill spent on scores and mechanisms; on an accelerator with waiting for it.
        stages: what each stage was asked for and left.
    """

    case: str
    batch: int
    length: int
    policy: Measured
    baseline: Measured
    speedup: Interval
    predicted_speedup: float
    scoring_ms: float
    stages: tuple[Mapping[str, Any], ...]

    @property
    def realised(self) -> float | None:
        """Share of the predicted gain that the clock shows: (speed-up - 1) / (predicted - 1); None without a gain."""
        promised = self.predicted_speedup - 1
        return None if abs(promised) < 1e-9 else (self.speedup[0] - 1) / promised

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        mine, base = vars(self.policy), vars(self.baseline)
        return {
            "case": self.case,
            "batch": self.batch,
            "length": self.length,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in mine.items()},
            **{f"baseline_{key}": list(value) if isinstance(value, tuple) else value for key, value in base.items()},
            "speedup": self.speedup[0],
            "speedup_interval": [self.speedup[1], self.speedup[2]],
            "predicted_speedup": self.predicted_speedup,
            "realised": self.realised,
            "scoring_ms": self.scoring_ms,
            "scoring_share": self.scoring_ms / self.policy.prefill_ms,
            "stages": [dict(stage) for stage in self.stages],
        }


def synthetic_cases(
    model: nn.Module,
    policy: Policy,
    tokens: Sequence[int],
    batches: Sequence[int],
    *,
    modalities: Sequence[Modality] | None = None,
    text: int = TEXT,
) -> list[Case]:
    """Random requests of every number of media tokens and every batch size.

    Args:
        model: of a supported family.
        policy: decides the modalities where they are not given.
        tokens: media tokens of each modality in a prompt.
        batches: rows.
        modalities: of a prompt; None takes the policy's, or the family's first for a policy without stages.
        text: words of the query.

    Raises:
        PolicyError: the policy has an input stage, which acts before these requests are made, or a modality is unknown.
    """
    if any(stage.location == "input" for stage in policy.stages):
        raise PolicyError(
            "bench: input stages act before random requests are made; leave --tokens out with the embedded model, or"
            " give --data"
        )
    offered = find_adapter(model).offers(model.config)
    chosen = modalities or [m for m in MODALITIES if m in policy.modalities] or [next(iter(offered))]
    out = []
    for count in tokens:
        for batch in batches:
            request = random_request(model, dict.fromkeys(chosen, count), text=text, batch=batch)
            out.append(Case(f"{'+'.join(chosen)} {count}", request, request))
    return out


def bench(
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
        progress: called as cases are done.

    Raises:
        PolicyError: the policy does not fit the model.
    """
    rows = []
    for case in cases:
        rows.append(_row(model, policy, case, repeats, new_tokens))
        if progress is not None:
            progress(len(rows), len(cases))
    return rows


def calibrate(
    model: nn.Module,
    mechanisms: Sequence[str],
    *,
    tokens: int,
    batch: int = 1,
    repeats: int = 4,
    held_out: int = 12,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyModel:
    """Learn what prefill costs on the model's device: short runs of all kinds of work, and a check on other policies.

    Args:
        model: of a supported family, in eval mode.
        mechanisms: to learn, at every place where the model can run them; the control ``random`` is always among them.
        tokens: media tokens of a usual request; runs are taken from a quarter of it to twice as much.
        batch: rows of a request.
        repeats: runs of each kind, each beside one of the same request without a policy. What counts is the median of
            their ratios: a machine whose speed changes while it is measured changes both.
        held_out: policies to check the predictions on, drawn at random.
        seed: of those.
        progress: called as runs are done.

    Raises:
        PolicyError: a mechanism is unknown.
    """
    plans = _calibration(model, mechanisms, tokens)
    drawn = _drawn(model, mechanisms, tokens, held_out, np.random.default_rng(seed))
    everything = [*plans, *drawn]
    requests: dict[tuple[Modality, int], dict[str, Tensor]] = {}
    for modality, count, _ in everything:
        if (modality, count) not in requests:
            requests[modality, count] = random_request(model, {modality: count}, text=TEXT, batch=batch)
    reference = requests[plans[0][:2]]
    usual: list[float] = []
    times: list[list[tuple[float, float]]] = [[] for _ in everything]
    for turn in range(_PASSES):
        for i, (modality, count, policy) in enumerate(everything):
            request = requests[modality, count]
            _timed(model, policy, request)  # the first of a new shape also makes kernels
            for _ in range(-(-repeats // _PASSES)):
                before, _ = _timed(model, UNCOMPRESSED, reference)
                total, scoring = _timed(model, policy, request)
                usual.append(before)
                times[i].append((total / before, scoring / before))
            if progress is not None:
                progress(turn * len(everything) + i + 1, _PASSES * len(everything))
    adapter, config = find_adapter(model), model.config
    scale = 1e3 * float(np.median(usual))
    samples = []
    for (modality, count, policy), taken in zip(everything, times, strict=True):
        total, scoring = scale * np.median(np.array(taken), axis=0)
        shapes = request_shapes(adapter, config, requests[modality, count])
        samples.append(Sample(policy, shapes, float(total), float(scoring)))
    names = [f"{modality} {count}" for modality, count, _ in drawn]
    return fit(model, samples[: len(plans)], list(zip(names, samples[len(plans) :], strict=True)))


def _timed(model: nn.Module, policy: Policy, request: Mapping[str, Tensor]) -> tuple[float, float]:
    """Seconds of a prefill, and of them those on scores and mechanisms."""
    with apply(model, policy) as handle:
        handle.synchronise_scoring()
        start = synchronised(model)
        prefill(model, request)
        return synchronised(model) - start, sum(handle.scoring_seconds)


_Plan = tuple[Modality, int, Policy]
"""Modality of a request, its tokens, and what it runs under."""


def _places(model: nn.Module, name: str) -> list[tuple[Modality, Location]]:
    """Where the model can run a mechanism, input stages left out: they leave nothing to do at prefill."""
    adapter, mechanism = find_adapter(model), build_mechanism(name)
    out: list[tuple[Modality, Location]] = []
    if mechanism.companion is not None:  # it needs another modality's stage beside it
        return out
    for modality, locations in adapter.offers(model.config).items():
        for location in locations:
            if location == "input" or location not in mechanism.locations or modality not in mechanism.modalities:
                continue
            if {*mechanism.needs} <= adapter.scores(model.config, modality, location):
                out.append((modality, location))
    return out


def _stage(name: str, modality: Modality, location: Location, layer: int, keep: float) -> Stage:
    depth = layer if location in ("encoder", "decoder") else None
    return Stage(modality=modality, location=location, layer=depth, mechanism=name, keep_ratio=keep)


def _calibration(model: nn.Module, mechanisms: Sequence[str], tokens: int) -> list[_Plan]:
    """What is run to learn from: sizes without a policy, the control and each mechanism everywhere they can be."""
    adapter = find_adapter(model)
    layers = adapter.depths(model.config).decoder
    sizes = [max(8, round(tokens * share)) for share in (0.25, 0.5, 1.0, 2.0)]
    out: list[_Plan] = [(m, size, UNCOMPRESSED) for m in adapter.offers(model.config) for size in sizes]
    for modality, location in _places(model, "random"):
        depths = (1, max(1, layers // 2)) if location == "decoder" else (0,)
        for depth in depths:
            for size, keep in ((sizes[1], 0.5), (sizes[2], 0.2), (sizes[2], 0.7), (sizes[3], 0.4)):
                out.append((modality, size, Policy.of([_stage("random", modality, location, depth, keep)])))
    for name in dict.fromkeys(mechanisms):
        if name == "random":
            continue
        for modality, location in _places(model, name):
            for size, keep in ((sizes[1], 0.5), (sizes[2], 0.2), (sizes[3], 0.6)):
                stage = _stage(name, modality, location, int(location == "decoder"), keep)
                out.append((modality, size, Policy.of([stage])))
    return out


def _drawn(
    model: nn.Module, mechanisms: Sequence[str], tokens: int, number: int, rng: np.random.Generator
) -> list[_Plan]:
    """Random policies of one or two stages on requests of random sizes."""
    adapter = find_adapter(model)
    depths = adapter.depths(model.config)
    names = sorted({"random", *mechanisms})
    spots = [(name, *place) for name in names for place in _places(model, name)]
    out: list[_Plan] = []
    while len(out) < number:
        modality = rng.choice(sorted({spot[1] for spot in spots}))
        mine = [spot for spot in spots if spot[1] == modality]
        chosen = [mine[i] for i in rng.choice(len(mine), size=int(rng.integers(1, 3)), replace=False)]
        chosen.sort(key=lambda spot: LOCATION_ORDER[spot[2]])
        keeps = sorted(rng.uniform(0.15, 0.9, len(chosen)).round(2), reverse=True)
        limits = {"encoder": depths.encoder[modality], "decoder": depths.decoder}
        stages = []
        for (name, _, location), keep in zip(chosen, keeps, strict=True):
            layer = int(rng.integers(location == "decoder", limits.get(location, 2)))
            stages.append(_stage(name, modality, location, layer, float(keep)))
        policy = Policy(stages=tuple(stages))
        try:
            bind(model).validate(policy)
            check_rules(policy, depths)
        except PolicyError:
            continue
        out.append((modality, int(rng.integers(tokens // 2, 2 * tokens)), policy))
    return out


def prefill(model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """One forward over a prompt that fills the cache and scores the last position, as ``generate()`` begins."""
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.inference_mode():
        return model(**inputs, use_cache=True, **last)


def synchronised(model: nn.Module) -> float:
    """The clock in seconds, once the model's device has done what it was given."""
    if next(model.parameters()).device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed_pairs(
    model: nn.Module, policy: Policy, case: Case, repeats: int, run: Callable[[Mapping[str, Tensor]], list[float]]
) -> tuple[list[list[float]], list[list[float]]]:
    """What ``run`` measures under the policy and without it: pairs whose order alternates, behind one that warms up."""
    sides: tuple[list[list[float]], list[list[float]]] = ([], [])
    for turn in range(repeats + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            if side:
                found = run(case.baseline)
            else:
                with apply(model, policy):
                    found = run(case.inputs)
            if turn:
                sides[side].append(found)
    return sides


def prefill_flops(cost: Cost, rows: int, length: int) -> float:
    """Predicted FLOPs of a prefill that scores the last position of each row alone."""
    return cost.total - cost.head + cost.head * rows / (rows * length)


def _row(model: nn.Module, policy: Policy, case: Case, repeats: int, new_tokens: int) -> BenchRow:
    def forward(inputs: Mapping[str, Tensor]) -> list[float]:
        start = synchronised(model)
        prefill(model, inputs)
        return [synchronised(model) - start]

    def generate(inputs: Mapping[str, Tensor]) -> list[float]:
        return _generate(model, inputs, new_tokens)

    shapes = request_shapes(find_adapter(model), model.config, case.baseline)
    forwards = timed_pairs(model, policy, case, repeats, forward)
    generated = timed_pairs(model, policy, case, repeats, generate)
    with apply(model, policy) as handle:
        handle.synchronise_scoring()
        scoring = []
        for _ in range(repeats + 1):
            prefill(model, case.inputs)
            scoring.append(sum(handle.scoring_seconds))
            handle.scoring_seconds.clear()
        held = _held(model, case.inputs)
        stages = tuple(vars(record) for record in handle.stats[-1]) if policy.stages else ()
    sides = []
    for side, (plan, memory) in enumerate(((policy, held), (UNCOMPRESSED, _held(model, case.baseline)))):
        cost = prefill_cost(find_adapter(model), model.config, plan, shapes)
        first, later = np.median(np.array(generated[side]), axis=0)
        sides.append(
            Measured(
                1e3 * float(np.median(forwards[side])),
                1e3 * float(first),
                1e3 * float(later),
                *memory,
                cost.lengths,
                prefill_flops(cost, len(shapes), cost.lengths[-1]),
            )
        )
    mine, base = sides
    return BenchRow(
        case.name,
        len(shapes),
        max(shape.tokens for shape in shapes),
        mine,
        base,
        median_ratio_interval([pair[0] for pair in forwards[0]], [pair[0] for pair in forwards[1]]),
        base.flops / mine.flops,
        1e3 * float(np.median(scoring[1:])),
        stages,
    )


class _Clock:
    """A streamer that notes when tokens come; the first call brings the prompt."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times.append(synchronised(self._model))

    def end(self) -> None:
        """Nothing is held back."""


def _generate(model: Any, inputs: Mapping[str, Tensor], new_tokens: int) -> list[float]:
    """Seconds to the first token, and for each one behind it."""
    clock = _Clock(model)
    placeholders = sorted(find_adapter(model).placeholders(model.config).values())
    start = synchronised(model)
    with torch.inference_mode():
        model.generate(
            **inputs, do_sample=False, max_new_tokens=new_tokens, min_new_tokens=new_tokens, pad_token_id=0,
            suppress_tokens=placeholders, streamer=clock,
        )  # fmt: skip
    first, last = clock.times[1], clock.times[-1]
    return [first - start, (last - first) / (new_tokens - 1)]


def _held(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[int, int]:
    """Working memory of a prefill, and bytes of the cache that it fills."""
    with _peak(next(model.parameters()).device) as most:
        cache = prefill(model, inputs)[CACHE]
    kv = sum(
        part.numel() * part.element_size()
        for layer in cache.layers
        for part in (layer.keys, layer.values)
        if isinstance(part, Tensor)
    )
    return most[0], kv


@contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """The most memory that is held inside, less what was held before: a list of one number, filled at the end."""
    out: list[int] = []
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield out
        torch.cuda.synchronize(device)
        out.append(torch.cuda.max_memory_allocated(device) - before)
        return
    import psutil

    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(_SAMPLED_EVERY):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield out
    finally:
        done.set()
        thread.join()
        out.append(max(most, process.memory_info().rss) - before)
