"""Is the saving real? Prefill under a policy and without it, in turn in one run, beside what the FLOPs promise.

The identity policy (stages that keep everything) shows what the runtime costs; policies at a keep ratio of 0.25 show
how much of the predicted gain the clock sees. On a GPU the shapes are Qwen2.5-VL-7B and LLaVA-OneVision-7B in bf16, on
a CPU a Qwen2.5-VL of about 100 M parameters; weights are random, since speed does not depend on them.

    python tests/benchmarks/prefill.py --out tests/benchmarks/results/prefill-cpu.json
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from autotc.bench import Case, Requests, measure_cases, synthetic_cases
from autotc.models.published import published_config
from autotc.models.synthetic import random_model
from autotc.policy import Policy, Stage
from autotc.timing import time_prefill

IDENTITY_PAIRS = 30
SEVEN_BILLION = ("qwen2.5-vl-7b", "llava-onevision-7b")
SHAPE_100M: dict[str, Any] = {
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 14,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 8192,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    },
    "vision_config": {
        "depth": 8,
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "out_hidden_size": 768,
        "fullatt_block_indexes": [7],
    },
    "image_token_id": 5,
    "video_token_id": 6,
    "vision_start_token_id": 7,
    "vision_end_token_id": 8,
}
"""Qwen2.5-VL at about 100 M parameters, its tower about as large a share of the work as at 7 B."""


def small_config() -> Any:
    from transformers import Qwen2_5_VLConfig

    config = Qwen2_5_VLConfig(**SHAPE_100M, architectures=["Qwen2_5_VLForConditionalGeneration"])
    config.chat_marks = {"user": [2, 3], "end": 4, "template": [0, 1]}
    return config


def policies(keep: float) -> dict[str, Policy]:
    """One stage each: at the projector and at decoder layer 2, with and without scores."""
    stages = {
        "projector divprune": Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=keep),
        "projector cdpruner": Stage(modality="image", location="projector", mechanism="cdpruner", keep_ratio=keep),
        "projector random": Stage(modality="image", location="projector", mechanism="random", keep_ratio=keep),
        "decoder 2 fastv": Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=keep),
        "decoder 2 random": Stage(modality="image", location="decoder", layer=2, mechanism="random", keep_ratio=keep),
    }
    return {name: Policy.of([stage]) for name, stage in stages.items()}


IDENTITY = Policy.of(
    [
        Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=1.0),
        Stage(modality="image", location="decoder", layer=2, mechanism="fastv", keep_ratio=1.0),
    ]
)


def identity(model: Any, case: Case, pairs: int) -> tuple[float, float, float]:
    """Time under the identity policy over the bare model's, with its 95% interval."""
    return time_prefill(model, IDENTITY, case.inputs, case.baseline, pairs).ratio


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"


def arguments() -> argparse.Namespace:
    """What to measure, on which device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", default=None, help="visual tokens, e.g. 4096,16384; 2048 on a CPU")
    parser.add_argument("--batch", default=None, help="batch sizes; 1,8 on a GPU, 1 on a CPU")
    parser.add_argument("--attention", default="sdpa", help="attention implementation: sdpa, flash_attention_2, ...")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of each measurement")
    parser.add_argument("--pairs", type=int, default=IDENTITY_PAIRS, help="pairs of the identity policy")
    parser.add_argument("--identity-tokens", type=int, default=None, help="visual tokens of the identity's requests")
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--model", action="append", choices=SEVEN_BILLION, help="on a GPU (default: both)")
    parser.add_argument("--small", action="store_true", help="the shapes of the CPU on whatever device there is")
    parser.add_argument("--out", type=Path, help="file of the results")
    return parser.parse_args()


def measure_model(
    args: argparse.Namespace, model: Any, tokens: list[int], batches: list[int]
) -> Iterator[dict[str, Any]]:
    """The identity over the bare model, and every policy at every size; what is known so far, after each of them."""
    (case,) = synthetic_cases(model, IDENTITY, Requests([args.identity_tokens or tokens[0]]))
    ratio = identity(model, case, args.pairs)
    print(f"  identity over bare, {args.pairs} pairs: {ratio[0]:.4f} [{ratio[1]:.4f}, {ratio[2]:.4f}]", flush=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows: list[dict[str, Any]] = []
    for label, policy in policies(args.keep).items():
        cases = synthetic_cases(model, policy, Requests(tokens, batches))
        for row in measure_cases(model, policy, cases, repeats=args.repeats):
            line = {"policy": label, **row.to_json()}
            rows.append(line)
            print(
                f"  {label:18s} {row.case:12s} x {row.batch}: speed-up {row.speedup[0]:.2f}"
                f" [{row.speedup[1]:.2f}, {row.speedup[2]:.2f}], predicted {row.predicted_speedup:.2f}, realised"
                f" {row.realised or 0:.2f}; scoring {100 * line['scoring_share']:.1f}%; a token behind the first"
                f" {row.policy.output_token_ms / row.baseline.output_token_ms:.2f} of uncompressed",
                flush=True,
            )
        yield {"parameters": parameters, "identity": list(ratio), "rows": rows}


def main() -> None:
    args = arguments()
    gpu = args.device != "cpu" and not args.small
    tokens = [int(n) for n in (args.tokens or ("4096,16384" if gpu else "2048")).split(",")]
    batches = [int(n) for n in (args.batch or ("1,8" if gpu else "1")).split(",")]
    configs = (
        {name: published_config(name) for name in args.model or SEVEN_BILLION}
        if gpu
        else {"qwen2.5-vl-100m": small_config()}
    )
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_name(args.device),
        "torch": torch.__version__,
        "command": shlex.join(["python", "tests/benchmarks/prefill.py", *sys.argv[1:]]),
        "models": {},
    }
    for name, config in configs.items():
        config._attn_implementation = args.attention
        model = random_model(config, dtype=torch.bfloat16 if gpu else torch.float32, device=args.device)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name}: {parameters / 1e6:.0f} M parameters on {result['device']}", flush=True)
        for known in measure_model(args, model, tokens, batches):
            result["models"][name] = known
            if args.out is not None:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        del model


if __name__ == "__main__":
    main()
