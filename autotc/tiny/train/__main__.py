"""Train `tiny-omni` from scratch: ``python -m autotc.tiny.train --out FOLDER``.

Every stage is seeded, writes a checkpoint every five minutes and continues from it when run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from autotc.tiny.train.recipes import RECIPES
from autotc.tiny.train.stages import export, train


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(
        prog="python -m autotc.tiny.train", description="Train `tiny-omni` from scratch, or continue where it stopped."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, logs and the finished model")
    parser.add_argument("--stage", choices=[*RECIPES, "export"], action="append", help="run only these stages")
    parser.add_argument("--steps", type=int, help="steps of the stage (default: the recipe's)")
    parser.add_argument("--batch", type=int, default=16, help="scenes a step of the decoder and joint stages")
    parser.add_argument(
        "--rate", type=float, default=RECIPES["joint"].peak_rate, help="peak learning rate of the joint stage"
    )
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for stage in args.stage or [*RECIPES, "export"]:
        if stage == "export":
            export(args.out, args.out / "model")
            continue
        recipe = RECIPES[stage]
        if stage == "joint":
            recipe = replace(recipe, peak_rate=args.rate)
        train(replace(recipe, steps=args.steps or recipe.steps), args.out, args.batch)


if __name__ == "__main__":
    main()
