"""How much compression hurts, and how much the mechanism matters: accuracy at one keep ratio at the projector.

    python tests/benchmarks/projector.py [--keep 0.25] [--split test] [--limit N]

Prints a Markdown table: one row per mechanism, one column per modality, points lost against the uncompressed model with
the paired 95% interval.
"""

from __future__ import annotations

import argparse

from autotc.errors import AutotcError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.mechanisms import MECHANISMS, MODALITIES
from autotc.policy import Policy, Stage


def main() -> None:
    """Evaluate every projector mechanism at one keep ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--split", choices=("search", "val", "test"), default="test")
    parser.add_argument("--limit", type=int, default=None)
    args = parser.parse_args()
    evaluator = BuiltinEvaluator()
    plain = evaluator.run(Policy(), args.split, limit=args.limit)
    base = plain.accuracy()
    print(f"| mechanism, keep {args.keep:g} at the projector | " + " | ".join(MODALITIES) + " |")
    print("|---|" + "---|" * len(MODALITIES))
    print(
        "| uncompressed accuracy | " + " | ".join("{:.3f} [{:.3f}, {:.3f}]".format(*base[m]) for m in MODALITIES) + " |"
    )
    for name, cls in sorted(MECHANISMS.items()):
        if "projector" not in cls.locations:
            continue
        mine = [m for m in MODALITIES if m in cls.modalities]
        policy = Policy.of(
            Stage(modality=m, location="projector", mechanism=name, keep_ratio=args.keep) for m in mine
        )  # fmt: skip
        try:
            change = evaluator.run(policy, args.split, limit=args.limit).difference(plain)
        except AutotcError as error:
            print(f"| {name} | {error} |")
            continue
        cells = [
            "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * v for v in change[m])) if m in mine else "" for m in MODALITIES
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
