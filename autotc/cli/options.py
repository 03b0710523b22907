"""Types of arguments, and options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from pathlib import Path

RUNS = Path("runs")
LOADING = ("dtype", "device_map", "attn_implementation", "revision", "trust_remote_code")
"""Options of every command that loads a model."""
STORAGE_VARIABLE = "AUTOTC_STORAGE"
"""As `autotc.search.home.VARIABLE`, which --help must not wait for."""
SHELLS = ("bash", "zsh", "fish")
"""That completion can be printed for."""
MODALITY_NAMES = ("image", "video", "audio")
ENGINE_NAMES = ("vllm", "vllm-built-in", "sglang", "tensorrt-llm", "tensorrt-edge-llm", "openvino")
"""Of `autotc.export.ENGINES`, which --help must not wait for."""


def ratio(text: str) -> float:
    """A ratio in (0, 1]."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a ratio in (0, 1] is right")


def spread(text: str) -> float:
    """A number in [-1, 1] that is not 0."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < abs(value) <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a number in [-1, 1], not 0, is right")


def budget(text: str) -> tuple[float | None, float | None]:
    """A FLOPs ratio, or milliseconds: the other is None."""
    with contextlib.suppress(ValueError):
        if not text.endswith("ms"):
            return ratio(text), None
        value = float(text.removesuffix("ms"))
        if 0 < value < math.inf:
            return None, value
    raise argparse.ArgumentTypeError(f"{text!r} given; a ratio in (0, 1], or milliseconds such as 300ms, is right")


def ratios(text: str) -> list[float]:
    """Ratios by commas."""
    return [ratio(part) for part in text.split(",")]


def keep_pairs(text: str) -> list[tuple[float, float]]:
    """Keep ratios of a first and a second stage, such as ``0.5:0.25,0.3:0.1``."""
    pairs = []
    for part in text.split(","):
        keeps = [ratio(keep) for keep in part.split(":")]
        if len(keeps) != 2 or keeps[1] >= keeps[0]:
            raise argparse.ArgumentTypeError(
                f"{part!r} given; FIRST:SECOND is right, both of the uncompressed count, the second lower, e.g. 0.5:0.2"
            )
        pairs.append((keeps[0], keeps[1]))
    return pairs


def names(text: str) -> list[str]:
    """Names by commas."""
    return [part.strip() for part in text.split(",")]


def names_or_all(text: str) -> list[str] | str:
    """Names by commas, or ``all``."""
    return "all" if text == "all" else names(text)


def accuracy_fall(text: str) -> tuple[str | None, float]:
    """A fall in accuracy, in [0, 1], or that of a modality, a task or ``overall``: ``image=0.02``."""
    name, equals, value = text.rpartition("=")
    with contextlib.suppress(ValueError):
        fall = float(value)
        if 0 <= fall <= 1 and bool(equals) == bool(name):
            return name or None, fall
    raise argparse.ArgumentTypeError(
        f"{text!r} given; a fall in accuracy in [0, 1], e.g. 0.03, image=0.02 or task:ocr=0, is right"
    )


def positive(text: str) -> float:
    """A number above 0."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a number above 0, e.g. 0.8, is right")


def mapping(text: str) -> dict[str, object]:
    """A JSON object."""
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    raise argparse.ArgumentTypeError(f'{text!r} given; a JSON object such as {{"max_model_len": 8192}} is right')


def _whole_number(text: str, lowest: int, limit: float = math.inf) -> int:
    with contextlib.suppress(ValueError):
        value = int(text)
        if lowest <= value < limit:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} given; a whole number from {lowest} is right")


def from_one(text: str) -> int:
    """A whole number from 1."""
    return _whole_number(text, 1)


def from_two(text: str) -> int:
    """A whole number from 2."""
    return _whole_number(text, 2)


def several_from_one(text: str) -> list[int]:
    """Whole numbers from 1, by commas."""
    return [from_one(part) for part in text.split(",")]


def pixels(text: str) -> list[int]:
    """Height and width of a picture, or height, width and frames of a clip, by x."""
    sides = text.lower().split("x")
    if len(sides) not in (2, 3):
        raise argparse.ArgumentTypeError(f"{text} given; height and width in pixels are right, such as 896x896")
    return [from_one(side) for side in sides]


def seed(text: str) -> int:
    """A whole number from 0, below 2**32."""
    return _whole_number(text, 0, 2**32)


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """How a command that loads a model does it."""
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16", "float16"), help="of the weights (default: the checkpoint's)"
    )
    parser.add_argument(
        "--device-map",
        metavar="NAME",
        help="cpu, cuda, cuda:1, or auto, which divides the model over all devices (default: cuda where there is one)",
    )
    parser.add_argument(
        "--attn-implementation",
        metavar="NAME",
        help="sdpa, eager, flash_attention_2, ... (default: the model's own)",
    )
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")


def add_evaluator_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and which samples."""
    parser.add_argument("--model", metavar="PATH", help="folder or hub name of a model (default: the embedded model)")
    add_loading_options(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="your own data: .jsonl, .json, .csv, .tsv or .parquet (default: the embedded benchmark)",
    )
    parser.add_argument(
        "--evaluator",
        choices=("builtin", "jsonl", "lmms"),
        help="what samples are from (default: lmms with --tasks, jsonl with --data, builtin without)",
    )
    parser.add_argument(
        "--tasks", type=names, metavar="NAMES", help="tasks of lmms-eval by commas, e.g. mme,ocrbench or tiny_omni"
    )
    parser.add_argument("--task-folder", type=Path, metavar="DIR", help="with --tasks: task files of your own")
    parser.add_argument("--batch-size", type=from_one, metavar="N", help="samples of one forward")
    parser.add_argument(
        "--tower-cache",
        metavar="DIR",
        help="folder where processes of this machine share what the uncompressed model's towers make of the samples,"
        " or off (default: $AUTOTC_TOWER_CACHE, else ~/.cache/autotc/towers; at most $AUTOTC_TOWER_CACHE_LIMIT GB,"
        " else 10)",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="with --data: exact (default), contains, anls, relaxed_accuracy, vqa, choice, iou, iou@0.5, wer, or"
        " module:function of your own; with --tasks: one of theirs",
    )
    parser.add_argument(
        "--limit", type=from_one, metavar="N", help="evaluate only the first N samples of each modality"
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """What answers: transformers, or a serving engine."""
    parser.add_argument(
        "--engine",
        choices=("transformers", "vllm"),
        help="what answers: vllm serves the policy as it is deployed (default: transformers)",
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="with vllm: a server that runs, e.g. http://127.0.0.1:8000, in place of one here",
    )
    parser.add_argument(
        "--engine-args",
        type=mapping,
        metavar="JSON",
        help="with vllm: arguments of vllm.LLM, e.g. '{\"max_model_len\": 8192}'",
    )


def add_runs_option(parser: argparse.ArgumentParser) -> None:
    """Where studies are kept."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="where studies are kept (default: runs)")


def add_home_options(parser: argparse.ArgumentParser) -> None:
    """Where studies live."""
    add_runs_option(parser)
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna storage of the studies: postgresql://, mysql://, sqlite:///FILE, journal:///FILE or"
        " grpc://HOST:PORT (default: $AUTOTC_STORAGE, else studies.db in --runs)",
    )


def add_log_option(parser: argparse.ArgumentParser) -> None:
    """How a search tells how it goes."""
    parser.add_argument(
        "--log-json",
        action="store_true",
        help="write a JSON object a line to stderr in place of the progress: time, event, study, worker, trial",
    )


def add_trial_timeout_option(parser: argparse.ArgumentParser) -> None:
    """How long a trial may take."""
    parser.add_argument(
        "--trial-timeout",
        type=float,
        metavar="SECONDS",
        help="fail a trial that takes longer; an operation that never returns to Python is not ended by it",
    )


def add_split_option(parser: argparse.ArgumentParser) -> None:
    """Which split is evaluated."""
    parser.add_argument("--split", choices=("search", "val", "test"), default="test", help="(default: test)")


def add_split_seed_option(parser: argparse.ArgumentParser) -> None:
    """What the splits are drawn with."""
    parser.add_argument("--split-seed", type=seed, default=0, help="of the splits (default: 0)")


def add_tracking_option(parser: argparse.ArgumentParser) -> None:
    """Where MLflow records."""
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: a local store in --runs)")
