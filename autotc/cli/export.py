"""``autotc export``."""

from __future__ import annotations

import argparse
from pathlib import Path

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import checkpoint_of, evaluator_of, policy_of
from autotc.cli.options import ENGINE_NAMES, add_evaluator_options, add_split_seed_option, from_one
from autotc.cli.output import Output
from autotc.errors import PolicyError
from autotc.report.progress import LOADING_MODEL, ProgressBar


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
        "--policy-out",
        type=Path,
        metavar="FILE",
        help="write the policy that is served, for --to vllm, whose plug-in reads it (default: POLICY, where it is"
        " served as it is)",
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
    policy = policy_of(args.policy)  # what is wrong with it is told before torch is loaded
    from autotc.deployment import Served, write_config
    from autotc.export import get_engine
    from autotc.models.checkpoints import is_embedded
    from autotc.report.export import export_text

    checkpoint = None if args.model is None else checkpoint_of(args, args.model)
    measured = args.measure is not False and (args.data is not None or (args.model is None and is_embedded(policy)))
    if args.policy_out is not None and not get_engine(args.to).reads_policies:
        raise PolicyError(f"--policy-out: {args.to} reads no policy; --to vllm does")
    served = Served(checkpoint, args.architecture, args.pixels, args.policy_out)
    with ProgressBar("export") as progress:
        progress.phase(LOADING_MODEL, quiet=True)
        evaluator = evaluator_of(args, args.split_seed) if measured else None
        progress.phase("comparing the policy with what the engine runs", quiet=True)
        exported = autotc.export(args.policy, args.to, evaluator, served=served, measure=args.measure, limit=args.limit)
    if args.policy_out is not None:
        exported.deployed.save(args.policy_out)
    if args.out is not None:
        write_config(args.out, exported.deployment.config)
    return Output(exported.to_json(), lambda: export_text(exported).rstrip(), 0 if exported.plan.expressible else 1)


COMMAND = Command(
    name="export",
    function="export",
    summary="print a policy as the settings of a serving engine; exit 1 when it cannot express it",
    examples=("autotc export policies/qwen2.5-vl-7b/evs-0.25.yaml --to vllm --out vllm.yaml",),
    add_arguments=add_arguments,
    run=run,
)
