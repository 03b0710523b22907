"""``autotc bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, loading_of, place_model, policy_of
from autotc.cli.options import (
    MODALITY_NAMES,
    RUNS,
    add_engine_options,
    add_loading_options,
    from_one,
    from_two,
    names,
    pixels,
    several_from_one,
)
from autotc.cli.output import Output, files_written
from autotc.errors import DataError, PolicyError
from autotc.report.progress import LOADING_MODEL, ProgressBar

if TYPE_CHECKING:
    from torch import nn

    from autotc.evaluate.model import ModelEvaluator

SERVING = ("baseline_server", "concurrency", "size", "requests")
"""Options that belong to --engine vllm."""
BENCH_TOKENS = 1024
"""`autotc.bench.TOKENS`, which --help must not wait for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", nargs="?", metavar="POLICY", help="policy file, or none for the uncompressed model")
    parser.add_argument("--model", metavar="PATH", help="folder or hub name of a model (default: the embedded model)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="take the requests from your own data")
    parser.add_argument(
        "--random-weights",
        metavar="CONFIG",
        help="an architecture at real size without a checkpoint: a folder with config.json, a hub name, or a name that"
        " autotc knows, e.g. qwen2.5-vl-7b",
    )
    parser.add_argument(
        "--tokens",
        type=several_from_one,
        metavar="N,...",
        help=f"random requests of so many media tokens (default: samples of the data; with --random-weights"
        f" {BENCH_TOKENS})",
    )
    parser.add_argument("--batch", type=several_from_one, default=[1], metavar="B,...", help="batch sizes (default: 1)")
    parser.add_argument(
        "--modality",
        choices=MODALITY_NAMES,
        action="append",
        help="of the requests (default: those that the policy touches)",
    )
    parser.add_argument("--text", type=from_one, default=32, metavar="N", help="words of random queries (default: 32)")
    parser.add_argument("--repeats", type=from_one, default=5, metavar="N", help="pairs to measure (default: 5)")
    parser.add_argument(
        "--new-tokens", type=from_two, default=16, metavar="N", help="that generate() makes, from 2 (default: 16)"
    )
    add_loading_options(parser)
    parser.set_defaults(metric=None)
    _add_serving(parser)
    parser.add_argument("--calibrate", action="store_true", help="learn to predict prefill times on this device")
    parser.add_argument(
        "--mechanisms", type=names, metavar="NAMES", help="with --calibrate: to learn (default: the default space's)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="with --calibrate: of the latency model (default: runs/latency.json)"
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    add_engine_options(parser)
    parser.add_argument(
        "--baseline-server", metavar="URL", help="with --server, which has the policy: one that runs without a policy"
    )
    parser.add_argument(
        "--concurrency",
        type=several_from_one,
        metavar="N,...",
        help="with --engine vllm: requests under way at once (default: 1,4,16,64)",
    )
    parser.add_argument(
        "--size",
        type=pixels,
        metavar="HxW[xFRAMES]",
        help="with --engine vllm: pixels of the random picture, or clip, of a request (default: 896x896)",
    )
    parser.add_argument(
        "--requests",
        type=from_one,
        metavar="N",
        help="with --engine vllm: of a measurement (default: twice as many as are under way at once, at least 16)",
    )


def run(args: argparse.Namespace) -> Output:
    """Measure time and memory, or requests a second in an engine, or calibrate predictions."""
    if args.engine == "vllm" or args.server is not None:
        return _serving(args)
    for name in (*SERVING, "engine_args"):
        if getattr(args, name) is not None:
            raise DataError(f"--{name.replace('_', '-')}: given without --engine vllm")
    if args.calibrate:
        return _calibrate(args)
    if args.policy is None:
        raise PolicyError("bench: a policy file is needed, none for the uncompressed model, or --calibrate")
    for name in ("mechanisms", "out"):
        if getattr(args, name) is not None:
            raise PolicyError(f"--{name}: given without --calibrate")
    return _bench(args)


def _bench(args: argparse.Namespace) -> Output:
    policy_of(args.policy)  # what is wrong with it is told before torch is loaded
    from autotc.bench import Requests
    from autotc.report.bench import bench_text

    with ProgressBar("bench") as progress:
        progress.phase(LOADING_MODEL, quiet=True)
        model, evaluator = _measured_on(args)
        progress.phase("preparing the requests", quiet=True)
        progress.steps()
        requests = Requests(tokens=args.tokens, batches=args.batch, modalities=args.modality, text=args.text)
        measured = autotc.bench(
            args.policy,
            evaluator,
            model=model,
            requests=requests,
            repeats=args.repeats,
            new_tokens=args.new_tokens,
            progress=progress,
        )
    return Output(measured.to_json(), lambda: bench_text(measured))


def _measured_on(args: argparse.Namespace) -> tuple[nn.Module | None, ModelEvaluator | None]:
    """The model of random requests, or the evaluator whose samples are the requests."""
    model = evaluator = None
    if args.random_weights is not None or args.tokens is not None:
        if args.data is not None:
            raise DataError("--data: given with random requests; leave --tokens and --random-weights out")
        model = _model(args)
    else:
        if args.model is not None and args.data is None:
            raise DataError("--model: give --tokens N for random requests, or --data FILE")
        evaluator = evaluator_of(args, 0)
        if args.model is None:
            place_model(evaluator.loaded, args)
    return model, evaluator


def _serving(args: argparse.Namespace) -> Output:
    """A policy in vLLM beside the uncompressed model."""
    if args.policy is None or args.model is None:
        raise PolicyError("bench: --engine vllm takes a policy file and --model PATH")
    for name in ("data", "random_weights", "tokens", "modality", "out", "mechanisms"):
        if getattr(args, name) is not None:
            raise DataError(f"--{name.replace('_', '-')}: given with --engine vllm, which takes --size HxW[xFRAMES]")
    if args.calibrate:
        raise PolicyError("bench: --calibrate takes no --engine vllm")
    policy_of(args.policy)
    from autotc.bench.serving import ServingOptions, Traffic, bench_serving
    from autotc.report.serving import serving_text

    given = {"dtype": args.dtype} if args.dtype is not None else {}
    options = ServingOptions(
        {**given, **(args.engine_args or {})},
        args.server,
        args.baseline_server,
        **({} if args.concurrency is None else {"concurrency": args.concurrency}),
        repeats=args.repeats,
    )
    size = dict(zip(("height", "width", "frames"), args.size or (), strict=False))
    traffic = Traffic(**size, text=args.text, new_tokens=args.new_tokens, requests=args.requests)
    with ProgressBar("bench") as progress:
        measured = bench_serving(args.policy, args.model, traffic, options, progress)
    return Output(measured.to_json(), lambda: serving_text(measured))


def _model(args: argparse.Namespace) -> Any:
    """The model to measure: with random weights, of a checkpoint, or the embedded one."""
    if args.random_weights is None:
        from autotc.models.loading import load_model as load_named

        model, _ = load_named(args.model, loading_of(args))
        return model if args.model is not None else place_model(model, args)
    if args.model is not None:
        raise DataError("--model: given with --random-weights; one of the two is right")
    from autotc.models.synthetic import random_checkpoint

    return random_checkpoint(args.random_weights, loading_of(args))


def _calibrate(args: argparse.Namespace) -> Output:
    """A latency model of the device."""
    from autotc.bench import EMBEDDED_TOKENS, CalibrationSettings
    from autotc.mechanisms import build_mechanism
    from autotc.report.bench import calibration_text

    if args.policy is not None or args.data is not None:
        raise PolicyError("bench: --calibrate takes no policy and no --data")
    for name in args.mechanisms or ():
        build_mechanism(name)
    if len(args.batch) > 1 or len(args.tokens or ()) > 1:
        raise PolicyError("bench: --calibrate takes one --batch and one --tokens, of a usual request")
    model = _model(args)
    embedded = args.model is None and args.random_weights is None
    tokens = args.tokens[0] if args.tokens else EMBEDDED_TOKENS if embedded else BENCH_TOKENS
    settings = CalibrationSettings(tokens, batch=args.batch[0], repeats=args.repeats)
    with ProgressBar("calibrate") as progress:
        calibration = autotc.calibrate(
            model, args.mechanisms, settings=settings, out=args.out or RUNS / "latency.json", progress=progress
        )
    written = files_written([calibration.file])
    return Output(calibration.to_json(), lambda: f"{calibration_text(calibration)}\n\n{written}")


COMMAND = Command(
    name="bench",
    function="bench",
    summary="measure a policy's time and memory beside the uncompressed model's, or calibrate predictions",
    examples=(
        "autotc bench policies/x.yaml --batch 1,8",
        "autotc bench policies/x.yaml --random-weights qwen2.5-vl-7b --dtype bfloat16 --tokens 4096,16384",
        "autotc bench policies/x.yaml --engine vllm --model Qwen/Qwen2.5-VL-7B-Instruct --concurrency 1,16",
        "autotc bench --calibrate",
    ),
    add_arguments=add_arguments,
    run=run,
)
