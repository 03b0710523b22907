"""Is the front of a search at least as accurate as every preset, at the preset's own cost?

    python tests/benchmarks/presets.py STUDY [--runs runs] [--keep 0.4] [--limit N]

Applies each preset to every modality it takes (the others stay uncompressed) at one keep ratio, measures it on the test
split, and compares it, paired, with the policy of the study's front that is most accurate on the validation split among
those that cost no more. Where the front has nothing that cheap, it says so. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import Policy
from autotc.presets import PRESETS
from autotc.search.study import load_front


def main() -> None:
    """Compare every preset with the front."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--keep", type=float, nargs="+", default=[0.4])
    parser.add_argument("--limit", type=int, default=None)
    args = parser.parse_args()
    evaluator = BuiltinEvaluator()
    front = load_front(args.study, args.runs)
    costs = {r.number: evaluator.cost(r.policy, "test").flops_ratio for r in front}
    val = {r.number: evaluator.run(r.policy, "val", limit=args.limit).mean() for r in front}
    print("| preset | keep | FLOPs | accuracy | front: trial | FLOPs | front minus preset, paired |")
    print("|---|---|---|---|---|---|---|")
    for name, preset in PRESETS.items():
        for keep in args.keep:
            policy = Policy.of(
                stage for m in preset.modalities for stage in preset.build(m, evaluator.depths, keep)
            )  # fmt: skip
            cost = evaluator.cost(policy, "test").flops_ratio
            theirs = evaluator.run(policy, "test", limit=args.limit)
            cheaper = [r for r in front if costs[r.number] <= cost + 1e-9]
            row = f"| {name} | {keep:g} | {cost:.3f} | {theirs.mean():.3f} |"
            if not cheaper:
                print(f"{row} | | nothing as cheap |", flush=True)
                continue
            best = max(cheaper, key=lambda r: val[r.number])
            ours = evaluator.run(best.policy, "test", limit=args.limit)
            mean, low, high = ours.difference(theirs)["overall"]
            print(
                f"{row} {best.number} | {costs[best.number]:.3f} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] |",
                flush=True,
            )


if __name__ == "__main__":
    main()
