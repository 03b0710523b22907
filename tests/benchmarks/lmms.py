"""What the lmms path costs beside the built-in evaluator, on the same samples of the embedded benchmark.

    python tests/benchmarks/lmms.py [--limit 60] [--trials 6] [--batch-size 50]

Both evaluators run the same policies in turn, each a trial, on the same model and the same documents. Printed: the time
of each trial, what a later one adds to the built-in evaluator's for each sample and in all, and where the lmms path's
time went. A trial after the first must load nothing: its phases are the model's and the scores'.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

from autotc.evaluate.builtin import BuiltinEvaluator, build_samples
from autotc.evaluate.lmms.evaluator import LmmsEvaluator
from autotc.evaluate.model import ModelEvaluator
from autotc.policy import Policy, Stage
from autotc.tiny import load


class Same(BuiltinEvaluator):
    """The built-in evaluator on the documents that the lmms path has in a split."""

    def __init__(self, lmms: LmmsEvaluator, **options: Any) -> None:
        super().__init__(lmms.loaded, lmms._processor, **options)
        by_id = {sample.id: sample for sample in build_samples("test", 0)}
        self._mine = [by_id[builtin_id(sample.id)] for sample in lmms.samples("search")]

    def samples(self, split: Any) -> Any:
        return self._mine


def builtin_id(name: str) -> str:
    """``tiny_omni_image_audio/7`` -> ``test-image+audio-0007``."""
    task, index = name.split("/")
    return f"test-{task.removeprefix('tiny_omni_').replace('_', '+')}-{int(index):04d}"


def policies(count: int) -> list[Policy]:
    """The uncompressed model, then one for each keep ratio."""
    out = [Policy()]
    for i in range(1, count):
        stages = [
            Stage(modality=m, location="projector", mechanism="divprune", keep_ratio=0.2 + 0.6 * i / count)  # type: ignore[arg-type]
            for m in ("image", "video", "audio")
        ]
        out.append(Policy.of(stages))
    return out


def timed(evaluator: ModelEvaluator, policy: Policy) -> tuple[float, Any]:
    """Seconds of a trial, its analytic cost included, and its results."""
    start = time.perf_counter()
    results = evaluator.run(policy, "search")
    evaluator.cost(policy, "search")
    return time.perf_counter() - start, results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="samples of each modality group")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=50)
    args = parser.parse_args()
    start = time.perf_counter()
    lmms = LmmsEvaluator(["tiny_omni"], *load(), limit=args.limit, batch_size=args.batch_size)
    lmms.samples("search")
    print(f"lmms set-up {time.perf_counter() - start:.2f} s, once a study: imports, tasks, requests")
    builtin = Same(lmms, batch_size=args.batch_size)
    n = len(lmms.samples("search"))
    rows = []
    for number, policy in enumerate(policies(args.trials)):
        pair = {}
        # In turn, and the first of a pair in turn too: caches and clocks are warmer for the second.
        for evaluator in (builtin, lmms) if number % 2 else (lmms, builtin):
            pair[evaluator.name] = timed(evaluator, policy)
        (mine, my), (theirs, their) = pair["lmms"], pair["builtin"]
        scored = {sample.id: sample.correct for sample in their.samples}
        same = sum(scored[builtin_id(sample.id)] == sample.correct for sample in my.samples)
        rows.append(mine - theirs)
        print(
            f"trial {number}: lmms {mine:.2f} s, builtin {theirs:.2f} s, {1000 * (mine - theirs) / n:+.2f} ms a sample;"
            f" scored alike {same}/{n}; accuracy {my.mean():.4f} and {their.mean():.4f}"
        )
    later = median(rows[1:]) if len(rows) > 1 else rows[0]
    print(f"a trial after the first adds {later:+.2f} s (median), {1000 * later / n:+.2f} ms a sample of {n}")
    phases = lmms.phases.to_json()
    print("phases in all:", phases["seconds"])
    for number, run in enumerate(phases["runs"]):
        print(f"phases of trial {number}:", run)


if __name__ == "__main__":
    main()
