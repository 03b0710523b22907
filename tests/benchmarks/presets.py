"""Is the front of a search at least as accurate as every preset, at the preset's own cost?

    python tests/benchmarks/presets.py STUDY [--runs runs] [--limit N]

Takes the trials that the study was seeded with (controls and presets, each at the keep ratio that meets the budget),
measures them on the test split, and compares each, paired, with the policy of the study's front that is most accurate
on the validation split among those that cost no more. Where the front has nothing that cheap, it says so. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.search.study import load_trials, pareto


def main() -> None:
    """Compare every preset with the front."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--limit", type=int, default=None, help="samples of each modality group")
    args = parser.parse_args()
    evaluator = BuiltinEvaluator()
    trials = load_trials(args.study, args.runs)
    front = pareto(trials)
    costs = {r.number: evaluator.cost(r.policy, "test").flops_ratio for r in trials}
    val = {r.number: evaluator.run(r.policy, "val", limit=args.limit).mean() for r in front}
    print("| seeded with | FLOPs | accuracy | front: trial | FLOPs | front minus preset, paired |")
    print("|---|---|---|---|---|---|")
    for trial in trials:
        if not trial.origin.startswith(("preset:", "control:")):
            continue
        theirs = evaluator.run(trial.policy, "test", limit=args.limit)
        row = f"| {trial.origin} | {costs[trial.number]:.3f} | {theirs.mean():.3f} |"
        cheaper = [r for r in front if costs[r.number] <= costs[trial.number] + 1e-9]
        if not cheaper:
            print(f"{row} | | nothing as cheap |", flush=True)
            continue
        best = max(cheaper, key=lambda r: val[r.number])
        mean, low, high = evaluator.run(best.policy, "test", limit=args.limit).difference(theirs)["overall"]
        print(f"{row} {best.number} | {costs[best.number]:.3f} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] |", flush=True)


if __name__ == "__main__":
    main()
