"""``autotc worker``."""

from __future__ import annotations

import argparse

import autotc
from autotc.cli.again import WORKING, options_again
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of
from autotc.cli.options import (
    add_evaluator_options,
    add_home_options,
    add_log_option,
    add_split_seed_option,
    add_trial_timeout_option,
)
from autotc.cli.output import Output
from autotc.names import check_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("study", metavar="STUDY", help="study to work on, as autotc search made it")
    add_home_options(parser)
    add_evaluator_options(parser)
    add_split_seed_option(parser)
    add_trial_timeout_option(parser)
    add_log_option(parser)


def run(args: argparse.Namespace) -> Output:
    """Work on a study that a search has made, beside other workers."""
    from autotc.cli.live import LiveProgress
    from autotc.cli.logs import JsonLog
    from autotc.search.errors import SearchInterrupted
    from autotc.search.home import Home

    check_name(args.study, "STUDY")
    Home.of(args.runs, args.storage)  # what is wrong is told before a model is loaded
    again = f"autotc worker {args.study}{options_again(args, WORKING)}"
    try:
        with JsonLog() if args.log_json else LiveProgress() as progress:
            progress.loading()
            evaluator = evaluator_of(args, args.split_seed)
            report = autotc.worker(
                args.study,
                evaluator,
                runs=args.runs,
                storage=args.storage,
                trial_timeout=args.trial_timeout,
                progress=progress,
            )
    except SearchInterrupted as error:
        message = f"{args.study}: {error.done} trials by all workers; what ran here is given back; go on: {again}"
        if error.terminated:
            return Output({"study": args.study, "trials": error.done, "terminated": True}, message)
        raise KeyboardInterrupt(message) from error
    text = f"{report.study}: {report.trials} trials by all workers; {report.runs} runs here for its end"
    if not report.ended:
        text += f"\nno search leads it to its end now: autotc search --resume {report.study} ranks and exports"
    return Output(report.to_json(), text)


COMMAND = Command(
    name="worker",
    function="worker",
    summary="work on a study beside other machines",
    examples=("autotc worker qwen-b0.4-s0 --storage postgresql://host/autotc --model Qwen/Qwen2.5-VL-7B-Instruct",),
    add_arguments=add_arguments,
    run=run,
)
