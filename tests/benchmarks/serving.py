"""What the plug-in costs in vLLM, and what a policy gains there: `autotc bench --engine vllm` on a model of 100 M.

The shape is `prefill.py`'s Qwen2.5-VL with random weights; a picture of 448 x 448 pixels is 256 tokens. A policy at
keep ratio 1 shows what the plug-in costs, one at 0.25 what is gained. On a GPU the shape is Qwen2.5-VL-7B in bf16, and
the picture 1,792 x 1,792, 4,096 tokens.

    python -m tests.benchmarks.serving --out tests/benchmarks/results/serving-cpu.json
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from autotc.bench.serving import ServingOptions, Traffic, bench_serving
from autotc.models.published import published_config
from autotc.policy import Policy, Stage
from autotc.report.serving import serving_text
from tests.benchmarks.prefill import small_config
from tests.serve.checkpoints import save

KEEPS = {"divprune at 1": 1.0, "divprune at 0.25": 0.25}


def checkpoint(folder: Path, gpu: bool) -> Path:
    """A folder with configuration, tokenizer and processor, and no weights."""
    save("qwen2_5_vl", folder)
    config = published_config("qwen2.5-vl-7b") if gpu else small_config()
    tiny = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        setattr(config, name, tiny[name])  # of the folder's tokenizer
    for weights in folder.glob("*.safetensors*"):
        weights.unlink()
    config.save_pretrained(folder)
    file = folder / "processor_config.json"
    processor = json.loads(file.read_text(encoding="utf-8"))
    for part in ("image_processor", "video_processor"):
        processor[part] |= {"patch_size": 14, "size": {"shortest_edge": 56**2, "longest_edge": 4096 * 28**2}}
    file.write_text(json.dumps(processor), encoding="utf-8")
    return folder


def main() -> None:
    """Measure every policy, and write what is known after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", default="1,4,16,64")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, help="of a measurement (default: as of autotc bench)")
    parser.add_argument("--only", choices=KEEPS, action="append")
    parser.add_argument("--out", type=Path, help="file of the results")
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "load_format": "dummy",
        "max_model_len": 8192 if gpu else 2048,
        "enforce_eager": not gpu,
    }
    arguments |= {"dtype": "bfloat16", "gpu_memory_utilization": 0.45} if gpu else {"dtype": "float32"}
    side = 1792 if gpu else 448
    traffic = Traffic(height=side, width=side, requests=args.requests)
    numbers = [int(number) for number in args.concurrency.split(",")]
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name()
        if gpu
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "vllm": metadata.version("vllm"),
        "command": shlex.join(["python", "-m", "tests.benchmarks.serving", *sys.argv[1:]]),
        "policies": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        model = str(checkpoint(Path(folder) / "model", gpu))
        for name in args.only or KEEPS:
            stage = Stage(
                modality="image", location="projector", layer=None, mechanism="divprune", keep_ratio=KEEPS[name]
            )
            options = ServingOptions(arguments, concurrency=numbers, repeats=args.repeats)
            measured = bench_serving(Policy.of([stage]), model, traffic, options)
            print(serving_text(measured), flush=True)
            result["policies"][name] = {**measured.to_json(), "model": "qwen2.5-vl-7b" if gpu else "qwen2.5-vl-100m"}
            if args.out is not None:
                args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
