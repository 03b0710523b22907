"""What selection costs on an accelerator: milliseconds, launches and waits of every preset inside a real model.

- agreement: every mechanism keeps the same tokens on the accelerator as on the CPU, in float32.
- loops: rules that add one token after another, in one launch beside their tensor operators, in turn.
- presets: each on a Qwen2.5-VL-7B shape with random weights in bf16: milliseconds of scores and mechanisms in a
  prefill; launches and waits of the host that the policy adds to it, the runtime's own included.

    python -m tests.benchmarks.accelerator --out tests/benchmarks/results/accelerator.json

Without an accelerator it stops with a line that says so.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autotc.bench import Requests, synthetic_cases
from autotc.errors import AutotcError
from autotc.kernels import Cosine, farthest_first, greedy_map
from autotc.kernels.determinantal import greedy_map_loop
from autotc.kernels.farthest import farthest_first_loop
from autotc.mechanisms import MECHANISMS, Mechanism, Tokens
from autotc.models import bind
from autotc.models.published import published_config
from autotc.models.synthetic import random_model
from autotc.policy import Policy
from autotc.presets import PRESETS
from autotc.runtime import apply
from autotc.timing import prefill, timed_prefill
from autotc.vocabulary import Modality
from tests.mechanisms import kit

SIZES = (576, 2304, 9216)
SHARES = (0.1, 0.25, 0.5)
WIDTH = 3584
KEEP = 0.25
REPEATS = 3
LONG_MS = 2000
GRIDS: dict[Modality, kit.Grid] = {"image": (1, 24, 24), "video": (16, 6, 6), "audio": (576, 1, 1)}
PARTS = ("agreement", "loops", "presets")


def moved(tokens: Tokens) -> Tokens:
    """The same tokens on the accelerator."""
    return Tokens(**{name: value.cuda() for name, value in vars(tokens).items()})


def agreement() -> dict[str, Any]:
    """Mechanisms that keep other tokens on the accelerator than on the CPU, with how many differ of how many."""
    differing = {}
    reducing = {name: kind for name, kind in MECHANISMS.items() if issubclass(kind, Mechanism)}
    for name, mechanism in reducing.items():
        grid = GRIDS[mechanism.modalities[0]]
        tokens = kit.item(grid, WIDTH, seed=1)
        scores = kit.scores(tokens, seed=1)
        built = mechanism()
        size = tokens.valid.shape[1]
        budget = torch.tensor([built.target(KEEP, size, size, grid)])
        here = built.reduce(tokens, budget, scores).keep
        try:
            there = built.reduce(moved(tokens), budget.cuda(), {k: v.cuda() for k, v in scores.items()}).keep.cpu()
        except RuntimeError as error:
            differing[name] = f"fails: {str(error).splitlines()[0]}"
            continue
        other = len(set(here.flatten().tolist()) ^ set(there.flatten().tolist()))
        if other:
            differing[name] = f"{other // 2} of {here.shape[1]}"
    print(
        f"agreement: {len(reducing)} mechanisms; keep other tokens than on the CPU: {differing or 'none'}", flush=True
    )
    return {"mechanisms": len(reducing), "differing": differing}


def milliseconds(call: Callable[[], Tensor]) -> float:
    """Median of up to 7 runs behind one that warms up, or of as many as fit into 2 seconds."""
    times: list[float] = []
    call()
    while len(times) < 7 and (not times or sum(times) < 2000):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def rules(n: int, m: int) -> Iterator[tuple[str, Callable[[], Tensor], Callable[[], Tensor]]]:
    """Name, one launch and loop of each sequential rule on one row of random tokens."""
    generator = torch.Generator("cuda").manual_seed(0)
    features = torch.randn(1, n, WIDTH, device="cuda", generator=generator)
    scaled = features / features.norm(dim=2, keepdim=True)
    valid, budget = torch.ones(1, n, dtype=torch.bool, device="cuda"), torch.tensor([m], device="cuda")
    unknown, none = torch.full((1, n), torch.inf, device="cuda"), torch.zeros_like(valid)
    farthest = (Cosine(scaled), unknown, none, budget, valid, None)
    yield "farthest-first", lambda: farthest_first(*farthest), lambda: farthest_first_loop(*farthest)
    relevance = torch.rand(1, n, device="cuda", generator=generator) + 1e-6
    kernel = relevance[:, :, None] * torch.bmm(scaled, scaled.mT) * relevance[:, None]
    point = (kernel, relevance, budget, valid)
    yield "greedy MAP of a DPP", lambda: greedy_map(*point), lambda: greedy_map_loop(*point)


def loops() -> list[dict[str, Any]]:
    """Milliseconds of sequential rules in one launch and as loops, and whether both choose the same."""
    out = []
    for n in SIZES:
        for share in SHARES:
            for name, launched, loop in rules(n, round(n * share)):
                same = int((launched() ^ loop()).sum()) // 2
                fast, slow, m = milliseconds(launched), milliseconds(loop), round(n * share)
                out.append({"rule": name, "n": n, "m": m, "others": same, "launched_ms": fast, "loop_ms": slow})
                print(
                    f"{name:20s} N {n:5d} M {m:5d}: one launch {fast:8.2f} ms, loop {slow:8.2f} ms,"
                    f" {slow / fast:.1f} times; {same} other tokens",
                    flush=True,
                )
    return out


class Operators(TorchDispatchMode):
    """Counts operators on tensors of the accelerator that are no views: each starts at least one kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operator."""
        out = func(*args, **(kwargs or {}))
        made = tree_leaves((args, out))
        if any(isinstance(value, Tensor) and value.is_cuda for value in made) and not func.is_view:
            self.count += 1
        return out


def launches(model: Any, inputs: Mapping[str, Tensor]) -> int:
    """Operators that one prefill starts on the accelerator."""
    with Operators() as operators:
        prefill(model, inputs)
    return operators.count


def waits(model: Any, inputs: Mapping[str, Tensor]) -> int:
    """How often the host waits for the accelerator within one prefill."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            prefill(model, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in seen)


def measure_preset(model: Any, policy: Policy, inputs: Mapping[str, Tensor], bare: tuple[int, int]) -> dict[str, Any]:
    """What one preset adds to a prefill; ``bare``: launches and waits without it."""
    with apply(model, policy) as handle:
        started, waited = launches(model, inputs) - bare[0], waits(model, inputs) - bare[1]
        handle.synchronise_scoring()
        scoring: list[float] = []
        while len(scoring) < REPEATS and sum(scoring) < LONG_MS:
            handle.scoring_seconds.clear()
            timed_prefill(model, inputs)
            scoring.append(1e3 * sum(handle.scoring_seconds))
    return {"scoring_ms": statistics.median(scoring), "launches": started, "waits": waited}


def presets(tokens: int, limit: float) -> dict[str, Any]:
    """Every preset that the model has a place for, until ``limit`` seconds have gone."""
    end = time.monotonic() + limit
    model = random_model(published_config("qwen2.5-vl-7b"), dtype=torch.bfloat16, device="cuda")
    depths, out, refused = bind(model).depths, {}, {}
    uncompressed: dict[str, Any] = {}
    requests: dict[Modality, tuple[Mapping[str, Tensor], tuple[int, int]]] = {}
    modalities: tuple[Modality, ...] = ("image", "video")
    for modality in modalities:
        (case,) = synthetic_cases(model, Policy(), Requests([tokens], modalities=[modality]))
        prefill(model, case.inputs)
        bare = (launches(model, case.inputs), waits(model, case.inputs))
        requests[modality] = (case.inputs, bare)
        usual = statistics.median(1e3 * timed_prefill(model, case.inputs) for _ in range(REPEATS))
        print(f"bare prefill of {case.name}: {usual:.1f} ms, {bare[0]} launches, {bare[1]} waits", flush=True)
        uncompressed[modality] = {"prefill_ms": usual, "launches": bare[0], "waits": bare[1]}
    for name, preset in PRESETS.items():
        modality = "image" if "image" in preset.modalities else "video"
        if time.monotonic() > end:
            refused[name] = "no time was left"
            continue
        try:
            policy = Policy.of(preset.build(modality, depths, KEEP))
            row = measure_preset(model, policy, *requests[modality])
        except (AutotcError, RuntimeError) as error:
            refused[name] = str(error).splitlines()[0]
            continue
        out[name] = {"modality": modality, **row}
        print(
            f"{name:20s} {modality}: scoring {row['scoring_ms']:7.2f} ms, {row['launches']:+6d} launches,"
            f" {row['waits']:+4d} waits",
            flush=True,
        )
    print(f"refused: {refused}", flush=True)
    sizes = {"model": "qwen2.5-vl-7b", "tokens": tokens, "keep": KEEP, "uncompressed": uncompressed}
    return {**sizes, "rows": out, "refused": refused}


def main() -> None:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--tokens", type=int, default=4096, help="visual tokens of the presets' request")
    parser.add_argument("--limit", type=float, default=240, help="seconds for the presets")
    parser.add_argument("--out", type=Path, help="file of the results")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "accelerator: torch finds no CUDA device here; nothing was measured\n")
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "command": shlex.join(["python", "-m", "tests.benchmarks.accelerator", *sys.argv[1:]]),
    }
    parts: dict[str, Callable[[], Any]] = {
        "agreement": agreement,
        "loops": loops,
        "presets": lambda: presets(args.tokens, args.limit),
    }
    with torch.inference_mode():
        for name in args.only or PARTS:
            result[name] = parts[name]()
            if args.out is not None:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
