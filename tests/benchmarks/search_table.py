"""The table of the search benchmark: every policy of a discretised space, evaluated once on the embedded model.

A modality's stages alone decide the results on that modality's samples, so the policies of one modality are evaluated
by themselves, and the table then holds every combination of them: all of the full space, image x video x audio.

    python tests/benchmarks/search_table.py            # an hour on a core; goes on where it was interrupted

writes `tests/benchmarks/results/search-table.npz`, which `search.py` replays.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.policy import Policy
from autotc.search.space import SearchSpace
from autotc.vocabulary import Split

HERE = Path(__file__).parent
TABLE = HERE / "results" / "search-table.npz"
SPACES = {name: HERE / "spaces" / f"{name}.yaml" for name in ("table", "decoder")}
SAMPLES: dict[Split, int] = {"search": 100, "val": 40, "test": 120}
"""Samples of each modality and split."""
GROUPS = ("image", "video", "audio")
LADDER = [round(0.2 + 0.025 * i, 3) for i in range(33)]
"""Mean keep ratios at which FitPrune's schedule is fitted."""


def legal_stacks(space: SearchSpace, modality: Any, depths: Depths, locations: Mapping[str, Any]) -> list[Policy]:
    """The policies of one modality that no rule refuses."""
    out = []
    for stack in space.stacks(modality):
        policy = Policy(stages=stack)
        try:
            check_rules(policy, depths, locations)
        except PolicyError:
            continue
        out.append(policy)
    return out


def planned(depths: Depths, locations: Mapping[str, Any]) -> dict[str, list[Policy]]:
    """Modality -> the distinct policies of both spaces."""
    out: dict[str, dict[str, Policy]] = {group: {} for group in GROUPS}
    for path in SPACES.values():
        space = SearchSpace.load(path)
        for modality in space.modalities:
            for policy in legal_stacks(space, modality, depths, locations):
                out[modality].setdefault(policy.content_hash(), policy)
    return {modality: list(policies.values()) for modality, policies in out.items()}


def build(path: Path, checkpoint: Path) -> None:
    """Evaluate what is missing, in a fixed random order, modalities in turn."""
    import torch

    from autotc.evaluate.builtin import BuiltinEvaluator

    torch.set_num_threads(1)
    evaluator = BuiltinEvaluator()
    plan = planned(evaluator.depths, evaluator.locations)
    known: dict[str, dict[str, Any]] = {}
    if checkpoint.exists():
        known = {row["hash"]: row for row in map(json.loads, checkpoint.read_text().splitlines())}
    order = [
        (i / len(policies), group, p) for group, policies in plan.items() for i, p in enumerate(shuffled(policies))
    ]
    order.sort(key=lambda row: row[0])
    order = [(0.0, group, Policy()) for group in GROUPS] + order
    todo = [(group, p) for _, group, p in order if f"{group}:{p.content_hash()}" not in known]
    print(f"{len(order)} policies, {len(todo)} to evaluate", flush=True)
    began = time.monotonic()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.open("a") as file:
        for n, (group, policy) in enumerate(todo, 1):
            row: dict[str, Any] = {"hash": f"{group}:{policy.content_hash()}", "policy": policy.to_yaml()}
            for split, limit in SAMPLES.items():
                evaluator.run(Policy(), split, limit=limit, groups=[group])  # what divergences are measured from
                results = evaluator.run(policy, split, limit=limit, groups=[group]).samples
                row[split] = {
                    "correct": [int(s.correct) for s in results],
                    "log_probability": [round(s.log_probability, 3) for s in results],
                    "divergence": [round(s.divergence, 4) for s in results],
                    "flops": evaluator.cost(policy, split, groups=[group]).flops,
                }
            if policy.stages:
                evaluator.forget(policy)
            file.write(json.dumps(row) + "\n")
            file.flush()
            if n % 25 == 0:
                eta = (time.monotonic() - began) / n * (len(todo) - n)
                print(f"{n}/{len(todo)}, {eta / 60:.0f} minutes left", flush=True)
    pack(path, checkpoint, plan, evaluator)


def pack_only(path: Path, checkpoint: Path) -> None:
    """Write the table from what has been evaluated so far."""
    from autotc.evaluate.builtin import BuiltinEvaluator

    evaluator = BuiltinEvaluator()
    pack(path, checkpoint, planned(evaluator.depths, evaluator.locations), evaluator)


def shuffled(policies: list[Policy]) -> list[Policy]:
    """In a fixed random order, so that a table that is cut off is a sample of the whole."""
    return [policies[i] for i in np.random.default_rng(0).permutation(len(policies))]


def pack(path: Path, checkpoint: Path, plan: Mapping[str, list[Policy]], evaluator: Any) -> None:
    """Write the table: per modality its policies, and per split what each sample gave."""
    known = {row["hash"]: row for row in map(json.loads, checkpoint.read_text().splitlines())}
    arrays: dict[str, Any] = {}
    for group in GROUPS:
        rows = [
            known[f"{group}:{p.content_hash()}"]
            for p in [Policy(), *plan[group]]
            if f"{group}:{p.content_hash()}" in known
        ]
        arrays[f"{group}/policies"] = np.array([row["policy"] for row in rows])
        for split in SAMPLES:
            info = evaluator.run(Policy(), split, limit=SAMPLES[split], groups=[group]).samples
            chance = evaluator.info(split).chance
            arrays[f"{group}/{split}/task"] = np.array([s.task for s in info])
            arrays[f"{group}/{split}/chance"] = np.array([chance[s.task] for s in info])
            arrays[f"{group}/{split}/correct"] = np.packbits(
                np.array([row[split]["correct"] for row in rows], dtype=np.uint8), axis=1
            )
            for name in ("log_probability", "divergence"):
                arrays[f"{group}/{split}/{name}"] = np.array([row[split][name] for row in rows], dtype=np.float16)
            arrays[f"{group}/{split}/flops"] = np.array([row[split]["flops"] for row in rows])
    for modality in SearchSpace.load(SPACES["decoder"]).modalities:
        arrays[f"{modality}/fitprune"] = np.array([[keep, *schedule(evaluator, modality, keep)] for keep in LADDER])
    np.savez_compressed(path, **arrays)
    print(f"{path}: {sum(len(arrays[f'{g}/policies']) for g in GROUPS)} rows, {path.stat().st_size / 2**20:.1f} MiB")


def schedule(evaluator: Any, modality: Any, keep: float) -> list[float]:
    """FitPrune's keep ratio before each layer at a mean keep ratio; all ones where it cannot leave so little."""
    from autotc.evaluate.fitting import fit_fitprune

    try:
        stages = fit_fitprune(evaluator, modality, keep).stages
    except PolicyError:
        return [1.0] * evaluator.depths.decoder
    steps = {layer or 0: ratio for stage in stages for layer, ratio in stage.steps()}
    out, now = [], 1.0
    for layer in range(evaluator.depths.decoder):
        now = steps.get(layer, now)
        out.append(now)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/search-table.jsonl"))
    parser.add_argument("--pack", action="store_true", help="evaluate nothing more: write what there is")
    args = parser.parse_args()
    (pack_only if args.pack else build)(args.out, args.checkpoint)
