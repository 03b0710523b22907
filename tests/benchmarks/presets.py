"""Is what a search chooses at least as accurate as every preset, at the preset's own cost?

    python tests/benchmarks/presets.py STUDY [--runs runs] [--limit N]

Takes the trials that the study was seeded with (controls and presets, each at the keep ratio that meets the budget),
measures them on the test split, and compares each, paired, with what the search would choose among its trials that
cost no more on the validation and test splits: the best on validation of the best on search. The preset is one of
these. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.search.finish import choose
from autotc.search.home import Home
from autotc.search.storage import load_trials


def main() -> None:
    """Compare every preset with what is chosen at its cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--limit", type=int, default=None, help="samples of each modality group")
    args = parser.parse_args()
    evaluator = BuiltinEvaluator()
    trials = load_trials(args.study, Home.of(args.runs))
    costs = {r.number: [evaluator.cost(r.policy, split).flops_ratio for split in ("val", "test")] for r in trials}
    print("| seeded with | FLOPs | accuracy | chosen: trial | FLOPs | chosen minus preset, paired |")
    print("|---|---|---|---|---|---|")
    for trial in trials:
        if not trial.origin.startswith(("preset:", "control:")):
            continue
        most = costs[trial.number]
        theirs = evaluator.run(trial.policy, "test", limit=args.limit)
        fitting = [r for r in trials if all(c <= m + 1e-9 for c, m in zip(costs[r.number], most, strict=True))]
        best = choose(fitting, evaluator, limit=args.limit)
        mean, low, high = evaluator.run(best.policy, "test", limit=args.limit).difference(theirs)["overall"]
        print(
            f"| {trial.origin} | {most[1]:.3f} | {theirs.mean():.3f} | {best.number} | {costs[best.number][1]:.3f} |"
            f" {mean:+.3f} [{low:+.3f}, {high:+.3f}] |",
            flush=True,
        )


if __name__ == "__main__":
    main()
