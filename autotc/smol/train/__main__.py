"""Train `smol-vl`: ``python -m autotc.smol.train --out FOLDER``.

Every stage is seeded, writes a checkpoint every five minutes and continues from it when run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from autotc.smol.train.recipes import RECIPES
from autotc.smol.train.stages import Machine, Stage, export


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(
        prog="python -m autotc.smol.train", description="Train `smol-vl`, or continue where it stopped."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, logs and the finished weights")
    parser.add_argument("--stage", choices=[*RECIPES, "export"], action="append", help="run only these stages")
    parser.add_argument("--steps", type=int, help="steps of the stage (default: the recipe's)")
    parser.add_argument("--batch", type=int, help="pictures a step (default: the recipe's)")
    parser.add_argument("--seconds", type=float, help="take so many steps as fit into this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that draw scenes (default: none of their own)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for stage in args.stage or [*RECIPES, "export"]:
        if stage == "export":
            export(args.out, args.out / "model")
            continue
        recipe = RECIPES[stage]
        recipe = replace(recipe, steps=args.steps or recipe.steps, batch=args.batch or recipe.batch)
        Stage(recipe, args.out, Machine(torch.device(args.device), args.workers)).run(args.seconds)


if __name__ == "__main__":
    main()
