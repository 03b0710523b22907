"""``autotc presets``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, loading_of
from autotc.cli.options import MODALITY_NAMES, add_loading_options, from_one, ratio, spread
from autotc.cli.output import Output
from autotc.errors import PolicyError
from autotc.vocabulary import ITEM_SCORES

if TYPE_CHECKING:
    from autotc.policy import Policy

FAMILIES = ("control", "transformation", "similarity", "attention", "query")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="of one preset: what it is, or the policy it becomes; or all; with --calibrate a policy file too",
    )
    parser.add_argument("--family", choices=FAMILIES, help="list those of a family")
    parser.add_argument("--location", choices=("input", "encoder", "projector", "decoder"), help="... that act there")
    parser.add_argument(
        "--modality", choices=MODALITY_NAMES, action="append", help="... that take it; with NAME: compress it"
    )
    parser.add_argument("--needs", metavar="SCORE", help="... that read a score, e.g. last_query_attention")
    parser.add_argument("--paper", metavar="ARXIV", help="... of a paper")
    parser.add_argument(
        "--flash-safe",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="... whose published form runs, or does not run, under FlashAttention",
    )
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    parser.add_argument(
        "--model",
        metavar="PATH",
        help="with NAME: folder, hub name, or a name such as qwen2.5-vl-7b (default: the embedded model)",
    )
    parser.add_argument("--keep", type=ratio, metavar="R", help="with NAME: keep ratio (default: the published one)")
    parser.add_argument(
        "--calibrate",
        type=from_one,
        metavar="N",
        help="fit what hangs on the model on N samples: adaptive budgets, whose mean is then --keep; of fitprune the"
        " schedule, whose mean over layers is",
    )
    parser.add_argument(
        "--budget",
        choices=ITEM_SCORES,
        metavar="SCORE",
        help="with --calibrate: let every stage's budget follow a score of the item: " + ", ".join(ITEM_SCORES),
    )
    parser.add_argument(
        "--spread",
        type=spread,
        metavar="S",
        help="with --budget: how far, in [-1, 1], below 0 for less of a high score (default: 0.5)",
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="with --calibrate: your own data")
    add_loading_options(parser)
    parser.set_defaults(metric=None)
    parser.add_argument("--out", type=Path, metavar="FILE", help="with NAME: write the policy; with all: a folder")


def run(args: argparse.Namespace) -> Output:
    """List the presets, or write one as a policy."""
    if args.name is None:
        return _list(args)
    if args.name == "all":
        return _write_all(args)
    if args.calibrate is None and (args.budget is not None or args.spread is not None):
        raise PolicyError("--budget, --spread: given without --calibrate N; a budget that follows the item is fitted")
    if args.out is None and args.keep is None and args.model is None and args.calibrate is None:
        return _describe(args.name)
    if args.calibrate is not None:
        return _written(_calibrated(args), args.out)
    from autotc.presets.policies import preset_policy

    policy = preset_policy(args.name, args.keep, model=args.model, modalities=args.modality, loading=loading_of(args))
    return _written(policy, args.out)


def _list(args: argparse.Namespace) -> Output:
    from autotc.report.tables import table

    if any(value is not None for value in (args.out, args.keep, args.model, args.calibrate)):
        raise PolicyError(
            "presets: --out, --keep, --model and --calibrate go with the name of a preset, e.g. autotc presets fastv"
        )
    chosen = autotc.presets(
        family=args.family,
        location=args.location,
        modality=args.modality[0] if args.modality else None,
        needs=args.needs,
        paper=args.paper,
        flash_safe=args.flash_safe,
    )
    document = chosen.to_json()
    if args.markdown:
        return Output(document, chosen.to_markdown())
    headers = ["name", "family", "modalities", "locations", "needs", "paper", "flash_safe"]
    rows = [[_cell(value) for key, value in row.items() if key in headers] for row in document]
    return Output(document, lambda: table(headers, rows) if document else "no preset is like that")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, list) else str(value or "")) or "-"


def _describe(name: str) -> Output:
    from autotc.presets import get_preset
    from autotc.presets.listing import describe, entry

    preset = get_preset(name)
    return Output(entry(preset), lambda: describe(preset))


def _write_all(args: argparse.Namespace) -> Output:
    """Every preset that the model takes, each as a file ``NAME-KEEP.yaml`` in a folder."""
    from autotc.presets.policies import save_every_policy

    if args.out is None or args.keep is None:
        raise PolicyError("presets all: --keep R and --out FOLDER are needed")
    files = save_every_policy(args.out, args.keep, model=args.model, loading=loading_of(args))
    return Output({"policies": files}, f"wrote {len(files)} policies to {args.out}")


def _written(policy: Policy, out: Path | None) -> Output:
    """The policy as YAML, or where it was saved."""
    if out is None:
        return Output(policy.model_dump(mode="json", exclude_none=True), policy.to_yaml().rstrip())
    policy.save(out)
    return Output({"policy": out}, f"wrote {out}: {policy.label()}")


def _calibrated(args: argparse.Namespace) -> Policy:
    """A preset, or the policy of a file, fitted to the model on samples of the search split."""
    from autotc.evaluate.fitting import check_fitted, fit_preset

    policy = _adaptive(args)
    if policy is not None:
        from autotc.evaluate.budgets import fit_budgets

        return fit_budgets(policy, evaluator_of(args, 0), samples=args.calibrate)
    check_fitted(args.name)
    return fit_preset(
        args.name,
        evaluator_of(args, 0),
        keep=0.5 if args.keep is None else args.keep,
        samples=args.calibrate,
        modalities=args.modality,
    )


def _adaptive(args: argparse.Namespace) -> Policy | None:
    """The policy whose budgets are to be fitted; None where they are no part of what is."""
    from autotc.budgets import AdaptiveBudget
    from autotc.policy import Policy, adaptive_policy
    from autotc.presets.policies import preset_policy

    from_file = args.name.endswith((".yaml", ".yml"))
    if args.budget is None and args.spread is not None:
        raise PolicyError("--spread: given without --budget SCORE, whose spread it is")
    if from_file:
        if args.keep is not None:
            raise PolicyError(f"--keep: given with the file {args.name}, which says how much to keep")
        policy = Policy.load(args.name)
    elif args.budget is None:
        return None
    else:
        policy = preset_policy(
            args.name, args.keep, model=args.model, modalities=args.modality, loading=loading_of(args)
        )
    if args.budget is None:
        return policy
    spread = {} if args.spread is None else {"spread": args.spread}
    return adaptive_policy(policy, AdaptiveBudget(score=args.budget, **spread))


COMMAND = Command(
    name="presets",
    function="presets",
    summary="list the published methods, or write one as a policy",
    examples=(
        "autotc presets --family query --modality video",
        "autotc presets divprune --keep 0.25 --out divprune.yaml",
        "autotc presets divprune --keep 0.25 --budget variety --calibrate 64 --out adaptive.yaml",
    ),
    add_arguments=add_arguments,
    run=run,
)
