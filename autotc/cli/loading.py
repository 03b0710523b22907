"""The evaluator, the model, the policy and the space that arguments ask for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autotc
from autotc.cli.options import LOADING
from autotc.errors import DataError

if TYPE_CHECKING:
    from autotc.evaluate.engines import EngineOptions
    from autotc.evaluate.model import ModelEvaluator
    from autotc.models.checkpoints import Checkpoint
    from autotc.models.settings import Loading
    from autotc.policy import Policy
    from autotc.vocabulary import Split


def evaluator_of(args: argparse.Namespace, seed: int, *, limit: int | None = None) -> ModelEvaluator:
    """The evaluator that the arguments ask for.

    Args:
        args: of a command that evaluates.
        seed: of the splits.
        limit: samples of a task that are read; None takes the arguments'.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    _one_source(args)
    return autotc.evaluator(
        args.model,
        loading=loading_of(args),
        engine=_engine_of(args),
        tower_cache=getattr(args, "tower_cache", None),
        data=args.data,
        tasks=getattr(args, "tasks", None),
        task_folder=getattr(args, "task_folder", None),
        metric=args.metric,
        limit=getattr(args, "limit", None) if limit is None else limit,
        seed=seed,
        batch_size=getattr(args, "batch_size", None),
    )


def _engine_of(args: argparse.Namespace) -> EngineOptions | None:
    """The engine that answers, where the arguments name one."""
    if getattr(args, "engine", None) == "transformers" and args.server is not None:
        raise DataError("--server: given with --engine transformers; vllm is right")
    if getattr(args, "engine", None) != "vllm" and getattr(args, "server", None) is None:
        for option in ("server", "engine_args"):
            if getattr(args, option, None):
                raise DataError(f"--{option.replace('_', '-')}: given without --engine vllm")
        return None
    from autotc.evaluate.engines import EngineOptions

    return EngineOptions("vllm", args.server, args.engine_args or {})


def _one_source(args: argparse.Namespace) -> None:
    """See that --evaluator says the same as --data and --tasks."""
    if not hasattr(args, "evaluator"):  # a command that cannot run lmms-eval's tasks
        return
    given = "jsonl" if args.data is not None else "lmms" if args.tasks is not None else "builtin"
    if (args.data is None or args.tasks is None) and args.evaluator not in (None, given):
        needs = {"lmms": "needs --tasks NAMES", "jsonl": "needs --data FILE"}
        raise DataError(f"--evaluator: {args.evaluator} {needs.get(args.evaluator, 'takes no --data and no --tasks')}")


def warn_untouched(evaluator: ModelEvaluator, policy: Policy, split: Split) -> list[str]:
    """Tasks of lmms-eval that a policy leaves as they are, told on stderr."""
    untouched = evaluator.untouched(policy, split) if policy.stages else None
    if untouched is None:
        return []
    for task, group in untouched.items():
        print(f"warning: {task}: the policy has no stage for {group}; its samples run uncompressed", file=sys.stderr)
    return sorted(untouched)


def phases_of(evaluator: ModelEvaluator) -> dict[str, Any]:
    """Where an evaluator's time went, if it says."""
    return {} if evaluator.phases is None else {"phases": evaluator.phases.to_json()}


def place_model(model: Any, args: argparse.Namespace) -> Any:
    """A model on the device, in the dtype and with the attention that were asked for."""
    from autotc.models.loading import place

    return place(model, loading_of(args))


def checkpoint_of(args: argparse.Namespace, name: str | None) -> Checkpoint:
    """What a name stands for."""
    from autotc.models.checkpoints import find_checkpoint

    return find_checkpoint(name, loading_of(args))


def loading_of(args: argparse.Namespace) -> Loading:
    """How the arguments say that models are loaded."""
    from autotc.models.settings import Loading

    return Loading(**{name: getattr(args, name) for name in LOADING})


def policy_of(argument: str) -> Policy:
    """The policy of an argument: a file, or ``none`` for the uncompressed model."""
    from autotc.policy import UNCOMPRESSED, Policy

    return UNCOMPRESSED if argument == "none" else Policy.load(argument)


def space_file(name: str | None) -> Path:
    """File of a search space: a path, or the name of a shipped space."""
    from autotc.resources import search_space

    if name is None:
        return search_space()
    path = Path(name)
    return path if path.exists() or path.suffix in (".yaml", ".yml") else search_space(name)
