"""The evaluator, the model, the policy and the space that arguments ask for."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotc.cli.options import LOADING
from autotc.errors import DataError

if TYPE_CHECKING:
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
    sizes: dict[str, Any] = {}
    if hasattr(args, "tasks"):  # a command that can run lmms-eval's tasks
        _one_source(args)
        if args.batch_size is not None:
            sizes["batch_size"] = args.batch_size
        if args.tasks is not None:
            return _lmms_evaluator(args, sizes, seed, args.limit if limit is None else limit)
    if args.data is None:
        if args.metric is not None:
            raise DataError(
                f"--metric: {args.metric!r} given without --data or --tasks; the embedded benchmark has its own"
            )
        from autotc.evaluate.builtin import BuiltinEvaluator

        return BuiltinEvaluator(*load_model(args), seed=seed, **sizes)
    from autotc.evaluate.jsonl import JsonlEvaluator
    from autotc.evaluate.records import load_jsonl, split_records

    split_records(load_jsonl(args.data), seed)  # a wrong file is told before the model is loaded
    return JsonlEvaluator(args.data, *load_model(args), metric=args.metric or "exact", seed=seed, **sizes)


def _one_source(args: argparse.Namespace) -> None:
    """See that --evaluator, --data and --tasks say the same."""
    if args.data is not None and args.tasks is not None:
        raise DataError("--tasks: given with --data; one of the two is right")
    given = "jsonl" if args.data is not None else "lmms" if args.tasks is not None else "builtin"
    if args.evaluator not in (None, given):
        needs = {"lmms": "needs --tasks NAMES", "jsonl": "needs --data FILE.jsonl"}
        raise DataError(f"--evaluator: {args.evaluator} {needs.get(args.evaluator, 'takes no --data and no --tasks')}")
    if args.task_folder is not None and args.tasks is None:
        raise DataError("--task-folder: given without --tasks; name tasks of the folder")


def _lmms_evaluator(args: argparse.Namespace, sizes: dict[str, Any], seed: int, limit: int | None) -> ModelEvaluator:
    """The evaluator on tasks of lmms-eval; what is wrong with them is told before the model is loaded."""
    from autotc.evaluate.lmms import require_lmms_eval

    require_lmms_eval()
    from autotc.evaluate.lmms.evaluator import LmmsEvaluator
    from autotc.evaluate.lmms.tasks import load_tasks

    start = time.perf_counter()
    tasks = load_tasks(args.tasks, args.task_folder)
    loaded = time.perf_counter()
    model, processor = load_model(args)
    spent = time.perf_counter() - loaded
    evaluator = LmmsEvaluator(tasks, model, processor, metric=args.metric, limit=limit, seed=seed, **sizes)
    evaluator.phases.add("tasks", loaded - start)
    evaluator.phases.add("model loading", spent)
    return evaluator


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


def load_model(args: argparse.Namespace) -> tuple[Any, Any]:
    """Model and processor that the arguments ask for; (None, None) for the embedded model as it is."""
    if args.model is not None:
        from autotc.models.loading import load_checkpoint

        return load_checkpoint(args.model, loading_of(args))
    if not any(getattr(args, name) for name in LOADING):
        return None, None
    from autotc.models.loading import load_model as load_named

    return load_named(None, loading_of(args))


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
