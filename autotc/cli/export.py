"""``autotc export``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotc import files
from autotc.cli.command import Command
from autotc.cli.loading import checkpoint_of, evaluator_of, policy_of
from autotc.cli.options import ENGINE_NAMES, add_evaluator_options, add_split_seed_option, from_one
from autotc.cli.output import Output
from autotc.errors import DataError

if TYPE_CHECKING:
    from autotc.models.checkpoints import Checkpoint
    from autotc.policy import Policy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file")
    parser.add_argument("--to", choices=ENGINE_NAMES, required=True, help="the engine")
    parser.add_argument(
        "--architecture",
        metavar="CLASS",
        help="class of the model to be served, where the policy's model stands in for it, e.g."
        " Qwen3VLForConditionalGeneration (default: the policy's; any, where it names none)",
    )
    parser.add_argument(
        "--pixels",
        type=from_one,
        metavar="N",
        help="pixels of every image that will be asked about; input stages become caps with it",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the engine's configuration file, .yaml or .json"
    )
    parser.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="measure what the nearest policy costs in accuracy where the engine cannot express this one (default: with"
        " the embedded model, or with --data)",
    )
    add_split_seed_option(parser)
    add_evaluator_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Print a policy as the settings of a serving engine."""
    from autotc.export import get_engine
    from autotc.export.estimate import Estimate
    from autotc.export.report import export
    from autotc.models.checkpoints import is_embedded
    from autotc.report.tables import export_tables

    policy, engine = policy_of(args.policy), get_engine(args.to)
    served = _served_model(args, policy)
    embedded = args.model is None and served is not None and is_embedded(policy)
    if args.measure and not embedded and args.data is None:
        raise DataError("--measure: there is nothing to measure on; give --model and --data FILE.jsonl")
    measure = (embedded or args.data is not None) if args.measure is None else args.measure
    evaluator = evaluator_of(args, args.split_seed) if measure else None
    exported = export(
        policy,
        engine,
        architecture=args.architecture or (None if args.model is None or served is None else served.bound.architecture),
        model=args.model or "MODEL",
        pixels=args.pixels,
        flops=None if served is None or evaluator is not None else Estimate(served.bound.adapter, served.bound.config),
        measurer=evaluator,
        limit=args.limit,
    )
    document = exported.to_json()
    if args.out is not None:
        _write_config(args.out, document["config"])
    text = exported.text() + "\n\n" + export_tables(document)
    return Output(document, text.rstrip(), 0 if exported.plan.expressible else 1)


def _served_model(args: argparse.Namespace, policy: Policy) -> Checkpoint | None:
    """What is known of the model of a policy: as it was given, or by the policy's reference."""
    from autotc.models.checkpoints import policy_checkpoint

    return policy_checkpoint(policy) if args.model is None else checkpoint_of(args, args.model)


def _write_config(path: Path, config: Any) -> None:
    """An engine's configuration file: JSON where its name says so, else YAML."""
    import yaml

    text = json.dumps(config, indent=2) + "\n" if path.suffix == ".json" else yaml.safe_dump(config, sort_keys=False)
    files.write_text(path, text, "--out")


COMMAND = Command(
    name="export",
    function="export",
    summary="print a policy as the settings of a serving engine; exit 1 when it cannot express it",
    examples=("autotc export policies/qwen2.5-vl-7b/evs-0.25.yaml --to vllm --out vllm.yaml",),
    add_arguments=add_arguments,
    run=run,
)
