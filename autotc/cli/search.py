"""``autotc search``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import autotc
from autotc.cli.again import EVALUATOR, HOME, RESUMING, options_again
from autotc.cli.cluster import workers_on_ray
from autotc.cli.command import Command
from autotc.cli.fleet import workers_beside
from autotc.cli.loading import checkpoint_of, evaluator_of, phases_of, space_file
from autotc.cli.options import (
    ENGINE_NAMES,
    MODALITY_NAMES,
    add_evaluator_options,
    add_home_options,
    add_log_option,
    add_split_seed_option,
    add_tracking_option,
    add_trial_timeout_option,
    budget,
    from_one,
    ratio,
    seed,
)
from autotc.cli.output import Output
from autotc.errors import DataError, PolicyError
from autotc.names import check_name
from autotc.report.search import search_report

if TYPE_CHECKING:
    from autotc.latency import LatencyModel
    from autotc.search.session import Assist
    from autotc.search.settings import SearchOptions
    from autotc.search.space import SearchSpace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    _add_budgets(parser)
    _add_candidates(parser)
    _add_conduct(parser)
    _add_workers(parser)
    add_home_options(parser)
    add_evaluator_options(parser)


def _add_budgets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        type=budget,
        metavar="R",
        help="highest FLOPs ratio, relative to the uncompressed model, in (0, 1] (default: 0.4); or milliseconds of"
        " prefill of a sample, e.g. 300ms, predicted by what autotc bench --calibrate has learnt",
    )
    parser.add_argument(
        "--budget-kv", type=ratio, metavar="R", help="highest ratio of the bytes of keys and values after prefill"
    )
    parser.add_argument(
        "--latency",
        type=Path,
        metavar="FILE",
        help="latency model, also to show predicted times beside the front (default for 300ms: latency.json in --runs)",
    )
    for modality in MODALITY_NAMES:
        parser.add_argument(
            f"--budget-{modality}", type=ratio, metavar="R", help=f"highest FLOPs ratio over the {modality} samples"
        )


def _add_candidates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--space", metavar="FILE", help="search space, a file or the name of a shipped one (default: default)"
    )
    parser.add_argument(
        "--deployable-on",
        choices=ENGINE_NAMES,
        help="propose only what this serving engine can run (default space: deployable; of vllm all that"
        " autotc's plug-in serves)",
    )
    parser.add_argument(
        "--architecture",
        metavar="CLASS",
        help="with --deployable-on: class of the model to be served (default: that of --model; any, without one)",
    )


def _add_conduct(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=from_one, metavar="N", help="distinct policies to evaluate (default: 60)")
    parser.add_argument(
        "--sampler",
        default="parts",
        metavar="NAME",
        help="who proposes policies: parts, the search's own (default); Optuna's tpe, nsga2, nsga3, gp, random;"
        " published searches of decoder schedules: gsearch, vflowopt, fitprune",
    )
    parser.add_argument("--no-races", action="store_true", help="run every policy on all samples")
    parser.add_argument(
        "--no-predicted-conflicts", action="store_true", help="also run stacks that are predicted to conflict"
    )
    parser.add_argument("--seed", type=seed, help="of the sampler (default: 0)")
    add_split_seed_option(parser)
    parser.add_argument("--resume", metavar="STUDY", help="go on with a study")
    add_trial_timeout_option(parser)
    add_log_option(parser)
    parser.add_argument(
        "--force", action="store_true", help="search also where the uncompressed model is right on no sample"
    )
    parser.add_argument(
        "--register", metavar="NAME", help="register the exported policy in MLflow, as models:/NAME@challenger"
    )
    add_tracking_option(parser)
    parser.add_argument(
        "--out-dir", type=Path, default=Path("policies"), metavar="DIR", help="of the policy file (default: policies)"
    )


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=from_one,
        default=1,
        metavar="N",
        help="processes on this machine, each with the model (default: 1); autotc worker adds other machines",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="have --workers processes of a Ray cluster work beside this one: its address, auto, or none for a cluster"
        " of this machine",
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="G",
        help="with --ray: accelerators of each (default: 1 if there are any)",
    )
    parser.add_argument(
        "--artifacts",
        metavar="URL",
        help="where per-sample results are kept for machines that share no --runs: s3://BUCKET/PREFIX, or a folder",
    )


def run(args: argparse.Namespace) -> Output:
    """Search the best policies for a budget."""
    from autotc.cli.live import LiveProgress
    from autotc.cli.logs import JsonLog
    from autotc.search.errors import SearchError, SearchInterrupted, SearchStopped
    from autotc.search.home import Home

    # What is wrong is told before a model is loaded.
    if args.gpus_per_worker is not None and args.ray is None:
        raise DataError("--gpus-per-worker: given without --ray")
    Home.of(args.runs, args.storage)
    space, latency = _space(args), _latency(args)
    if args.resume is not None:
        check_name(args.resume, "--resume")
    try:
        with JsonLog() if args.log_json else LiveProgress() as progress:
            progress.loading()
            evaluator = evaluator_of(args, args.split_seed)
            if latency is not None:
                latency.check(evaluator.loaded)
            result = autotc.search(
                evaluator, progress=progress, assist=_assist(args), **_settings(args, space, latency)
            )
    except SearchInterrupted as error:
        message = str(error) + options_again(args, RESUMING)
        if error.terminated:
            return Output({"study": error.study, "trials": error.done, "terminated": True}, message)
        raise KeyboardInterrupt(message) from error
    except SearchStopped as error:
        raise SearchError(str(error) + options_again(args, RESUMING)) from error
    document = {**result.to_json(), **phases_of(evaluator)}
    options, home = options_again(args, EVALUATOR), options_again(args, HOME)
    return Output(document, lambda: search_report(document, options=options, home=home))


def _settings(args: argparse.Namespace, space: SearchSpace | None, latency: LatencyModel | None) -> SearchOptions:
    """What the arguments ask of a search."""
    budgets = {name: getattr(args, f"budget_{name}") for name in MODALITY_NAMES}
    return {
        "space": space,
        "budget": None if args.budget is None else args.budget[0],
        "budgets": {name: value for name, value in budgets.items() if value is not None} or None,
        "budget_ms": None if args.budget is None else args.budget[1],
        "budget_kv": args.budget_kv,
        "latency": latency,
        "trials": args.trials,
        "seed": args.seed,
        "name": _name(args.model, args.data, args.tasks),
        "study_name": args.resume,
        "resume": args.resume is not None,
        "sampler": args.sampler,
        "races": not args.no_races,
        "predict_conflicts": not args.no_predicted_conflicts,
        "runs": args.runs,
        "out_dir": args.out_dir,
        "search_limit": args.limit,
        "val_limit": args.limit,
        "test_limit": args.limit,
        "tracking_uri": args.tracking_uri,
        "trial_timeout": args.trial_timeout,
        "force": args.force,
        "register_as": args.register,
        "storage": args.storage,
        "artifacts": args.artifacts,
        "workers": args.workers + (args.ray is not None),
    }


def _assist(args: argparse.Namespace) -> Assist | None:
    """What starts other workers, where any are asked for."""
    if args.ray is not None:
        return partial(workers_on_ray, args)
    return None if args.workers == 1 else partial(workers_beside, args)


def _space(args: argparse.Namespace) -> SearchSpace | None:
    """The space to search; read before the model is loaded. None: a resumed study keeps its own."""
    from autotc.export import get_engine
    from autotc.search.space import SearchSpace

    if args.architecture is not None and args.deployable_on is None:
        raise PolicyError("--architecture: given without --deployable-on")
    name = args.space or (get_engine(args.deployable_on).space if args.deployable_on else None)
    if name is None and args.resume:
        return None
    space = SearchSpace.load(space_file(name))
    return space if args.deployable_on is None else _deployable(space, args)


def _deployable(space: SearchSpace, args: argparse.Namespace) -> SearchSpace:
    """What an engine can run of a space; says which modalities stay uncompressed."""
    from autotc.export import get_engine
    from autotc.search.space.engines import deployable_space

    engine = get_engine(args.deployable_on)
    # The embedded model stands in for whatever will be served.
    architecture = args.architecture
    if architecture is None and args.model is not None:
        architecture = checkpoint_of(args, args.model).bound.architecture
    deployable = deployable_space(space, engine, architecture)
    for modality in MODALITY_NAMES:
        if modality not in deployable.modalities:
            print(
                f"autotc search: {modality} stays uncompressed: {engine.lacking(modality, architecture)}",
                file=sys.stderr,
            )
    return deployable


def _latency(args: argparse.Namespace) -> LatencyModel | None:
    """The latency model that a budget in milliseconds needs, or that was asked for."""
    from autotc.latency import LatencyModel

    in_time = args.budget is not None and args.budget[1] is not None
    if args.latency is None and (not in_time or args.resume):
        return None
    return LatencyModel.load(args.latency or args.runs / "latency.json")


def _name(model: str | None, data: Path | None, tasks: Sequence[str] | None = None) -> str:
    """Name of what is searched, for studies and policy files."""
    name = "tiny-omni" if model is None else Path(model).name
    if tasks is not None:
        return f"{name}-{'-'.join(tasks)}"[:80]
    return name if data is None else f"{name}-{data.stem}"


COMMAND = Command(
    name="search",
    function="search",
    summary="search the best policies for a budget",
    examples=("autotc search --budget 0.5 --trials 100",),
    add_arguments=add_arguments,
    run=run,
)
