"""``autotc eval``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, policy_of, warn_untouched
from autotc.cli.options import add_engine_options, add_evaluator_options, add_split_option, add_split_seed_option
from autotc.cli.output import Output
from autotc.report.evaluation import eval_table
from autotc.report.progress import LOADING_MODEL, ProgressBar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file, or none for the uncompressed model")
    add_split_option(parser)
    add_split_seed_option(parser)
    add_evaluator_options(parser)
    add_engine_options(parser)


def run(args: argparse.Namespace) -> Output:
    """Evaluate a policy."""
    policy = policy_of(args.policy)  # what is wrong with it is told before a model is loaded
    with ProgressBar("eval") as progress:
        progress.phase(LOADING_MODEL, quiet=True)
        evaluator = evaluator_of(args, args.split_seed)
        warn_untouched(evaluator, policy, args.split)
        progress.steps()
        measured = autotc.evaluate(args.policy, evaluator, split=args.split, limit=args.limit, progress=progress)
    document = measured.to_json()
    return Output(document, lambda: f"{policy.label()}\n\n{eval_table(document)}")


COMMAND = Command(
    name="eval",
    function="evaluate",
    summary="evaluate a policy",
    examples=("autotc eval none --limit 50",),
    add_arguments=add_arguments,
    run=run,
)
