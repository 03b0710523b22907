"""What keeping towers' outputs saves: evaluations that take turns, and searches of two workers.

    python tests/benchmarks/towers.py evaluations     # the embedded model: one policy at each place
    python tests/benchmarks/towers.py heavy           # InternVL's classes at a quarter of InternVL2-1B's widths
    python tests/benchmarks/towers.py search          # autotc search --workers 2, with and without

Seconds are those of the processor, which other work on the machine does not change. Each part is written to
`results/towers.json`. The ratio is that of files, used before, to towers that run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
RESULTS = HERE / "results" / "towers.json"

import torch  # noqa: E402

from autotc.evaluate.towers import BatchTowers, Towers  # noqa: E402
from autotc.evaluate.towers.cache import TowerCache  # noqa: E402
from autotc.policy import UNCOMPRESSED, Policy, Stage  # noqa: E402

PLACES: dict[str, dict[str, Any]] = {
    "projector, divprune": {"location": "projector", "mechanism": "divprune"},
    "projector, prumerge, which reads the tower": {"location": "projector", "mechanism": "prumerge"},
    "decoder, fastv": {"location": "decoder", "layer": 2, "mechanism": "fastv"},
}
ROOMY = 10**10


def policies(*modalities: str) -> dict[str, Policy]:
    """The uncompressed model, and a policy at each place."""
    made = {
        name: Policy.of(Stage(modality=m, keep_ratio=0.4, **place) for m in modalities)
        for name, place in PLACES.items()
    }  # type: ignore[arg-type]
    return {"uncompressed": UNCOMPRESSED, **made}


def spent(work: Callable[[], object]) -> float:
    """Seconds of the processor that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            took = spent(work)
            if number:
                seconds[name].append(took)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """What towers that run and what is kept take, and their ratio."""
    found = in_turn(ways, rounds)
    rounded = {name: round(value, 3) for name, value in found.items()}
    return {**rounded, "ratio": round(found["files"] / found["towers run"], 3)}


def evaluations(args: argparse.Namespace) -> dict[str, Any]:
    """A policy on the embedded benchmark's pictures and videos, batch by batch."""
    from autotc.evaluate.builtin import BuiltinEvaluator

    evaluator, out = BuiltinEvaluator(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, policy in policies("image", "video").items():
            batches = [b for g in ("image", "video") for b in evaluator.prepared(policy, "search", g, args.samples)]

            def run(
                cache: TowerCache | None, policy: Policy = policy, batches: Any = batches, remember: bool = False
            ) -> list[Any]:
                evaluator.towers.cache = cache
                results = []
                for batch in batches:
                    if not remember:
                        batch.features.clear()
                    results += evaluator.run_batch(policy, batch, [])
                return results

            assert run(None) == run(TowerCache(Path(folder), ROOMY)) == run(TowerCache(Path(folder), ROOMY))
            warm = TowerCache(Path(folder), ROOMY)
            ways = {
                "towers run": lambda run=run: run(None),
                "this process's memory": lambda run=run: run(None, remember=True),
                "files, first used": lambda run=run: run(TowerCache(Path(folder), ROOMY)),
                "files": lambda run=run, warm=warm: run(warm),
            }
            out[name] = row(ways, args.rounds)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {"samples": 2 * args.samples, "rounds": args.rounds, "megabytes": round(size / 1e6, 1), "seconds": out}


def _internvl() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """InternVL2-1B at a quarter of its widths, random weights, and four prompts of a tile each."""
    from transformers import InternVLConfig

    from autotc.models.synthetic import random_model

    vision = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": [448, 448],
        "patch_size": [14, 14],
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": 2000,
        "hidden_size": 224,
        "intermediate_size": 1216,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    }
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=9)
    config.architectures = ["InternVLForConditionalGeneration"]
    config.chat_marks = {"user": [2, 3], "end": 4, "template": [0, 1]}
    model = random_model(config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(20, 2000, (4, 20), generator=generator)
    ids = torch.cat(
        [torch.tensor([[1, 2, 3]]).repeat(4, 1), torch.full((4, 256), 9), ids, torch.tensor([[4, 6]]).repeat(4, 1)], 1
    )
    pixels = torch.randn(4, 3, 448, 448, generator=generator)
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@torch.inference_mode()
def heavy(args: argparse.Namespace) -> dict[str, Any]:
    """A prefill of four pictures by a model whose tower is the larger part."""
    from autotc.models.identity import model_stamp
    from autotc.runtime.reuse import applied

    (model, inputs), cpu, out = _internvl(), torch.device("cpu"), {}
    stamp = model_stamp(model)

    def kept(cache: TowerCache | None) -> BatchTowers:
        return Towers(model, lambda: stamp, lambda: cpu, cache).of(inputs)

    with tempfile.TemporaryDirectory() as folder:
        for name, policy in policies("image").items():

            def run(store: BatchTowers, policy: Policy = policy) -> torch.Tensor:
                with applied(model, policy, inputs, store):
                    logits: torch.Tensor = model(**inputs, use_cache=False, logits_to_keep=1).logits
                return logits

            bare = run(kept(None))
            assert torch.equal(bare, run(kept(TowerCache(Path(folder), ROOMY))))
            warm = kept(TowerCache(Path(folder), ROOMY))
            assert torch.equal(bare, run(warm))
            ways = {
                "towers run": lambda run=run: run(kept(None)),
                "files, first used": lambda run=run: run(kept(TowerCache(Path(folder), ROOMY))),
                "files": lambda run=run, warm=warm: run(warm),
            }
            out[name] = row(ways, args.rounds)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {"samples": 4, "rounds": args.rounds, "megabytes": round(size / 1e6, 1), "seconds": out}


def search(args: argparse.Namespace) -> dict[str, Any]:
    """The processor's seconds of a search and its second worker: without files, with new ones, and with known ones."""
    seconds: dict[str, list[float]] = {"off": [], "new": [], "known": []}
    for number in range(args.searches):
        with tempfile.TemporaryDirectory() as folder:
            for way in seconds:
                place = "off" if way == "off" else f"{folder}/towers"
                command = [sys.executable, "-m", "autotc", "search", "--workers", "2", "--json", "--tower-cache", place]
                command += ["--trials", str(args.trials), "--limit", str(args.samples), "--seed", str(number)]
                command += ["--runs", f"{folder}/{way}", "--out-dir", f"{folder}/{way}/policies"]
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds[way].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "trials": args.trials,
        "samples": args.samples,
        "searches": args.searches,
        "seconds": {way: round(statistics.median(values), 1) for way, values in seconds.items()},
    }


def main() -> None:
    """Run a part and keep what it found."""
    parts = {"evaluations": evaluations, "heavy": heavy, "search": search}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20)
    args = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[args.part] = parts[args.part](args)
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps(known[args.part], indent=1))


if __name__ == "__main__":
    main()
