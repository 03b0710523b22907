"""What a search leaves in MLflow: parameters of the study, metrics of each trial, the front."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotc.evaluate.base import Evaluator
from autotc.results import SplitCost
from autotc.search.engine import Engine
from autotc.search.outcome import Failed, Known, Outcome, Ran, Refused
from autotc.search.problem import Problem
from autotc.search.result import FrontRow
from autotc.search.settings import SearchSettings, StudySettings
from autotc.search.storage import StoredTrial, Study
from autotc.search.tally import Tally
from autotc.tracking import Tracker, version


def open_tracker(
    study: Study, problem: Problem, evaluator: Evaluator, asked: SearchSettings, tell: Callable[[str], None]
) -> Tracker:
    """Open the parent run of a study, the one of an earlier call where there is one; ``tell`` is told what fails."""
    run_id = study.mlflow_run
    params = study_params(study.settings, problem, evaluator)
    tracker = Tracker(study.name, root=asked.runs, uri=asked.tracking_uri, params=params, run_id=run_id, tell=tell)
    if tracker.run_id != run_id:
        study.note("mlflow_run", tracker.run_id)
    return tracker


def study_params(settings: StudySettings, problem: Problem, evaluator: Evaluator) -> dict[str, Any]:
    """Parameters of the parent run."""
    info = evaluator.info("search")
    return {
        "model": evaluator.model.architecture,
        "fingerprint": evaluator.model.fingerprint,
        "evaluator": evaluator.name,
        "budget": problem.budget.overall,
        **{f"budget.{modality}": value for modality, value in problem.budget.by.items()},
        "budget.ms": settings.budget_ms,
        "budget.kv": settings.budget_kv,
        "trials": settings.trials,
        "sampler": settings.sampler,
        "seed": settings.seed,
        "split_seed": evaluator.seed,
        "search_limit": settings.search_limit,
        "samples": json.dumps(info.samples),
        "dataset_sha256": info.sha256,
        "version": version(),
    }


def record_trial(
    tracker: Tracker, engine: Engine, number: int, outcome: Outcome, stored: StoredTrial, seed: int
) -> None:
    """Log a trial as a nested run; what was refused is none.

    Args:
        tracker: parent run of the study.
        engine: that ran the policy.
        number: of the trial.
        outcome, stored: what became of it, and as it is stored.
        seed: of the study.
    """
    if isinstance(outcome, Known | Refused):
        return
    params = {"origin": outcome.origin, "seed": seed, "outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Failed):
        tracker.trial(number, outcome.policy, params=params, error=outcome.reason)
        return
    # Of a policy that was given up: what the samples it saw let expect.
    mean = outcome.results.mean() if isinstance(outcome, Ran) else engine.estimate(outcome.policy)
    metrics = trial_metrics(stored, mean, outcome.cost)
    metrics.update(guide=stored.log_probability, samples=len(outcome.results))
    if math.isfinite(outcome.results.divergence()):
        metrics["divergence"] = outcome.results.divergence()
    tracker.trial(number, outcome.policy, metrics=metrics, params=params)


def trial_metrics(stored: StoredTrial, mean: float, cost: SplitCost) -> dict[str, float]:
    """Metrics of a trial that ran."""
    return {
        "accuracy": mean,
        **{f"accuracy/{key}": value for key, value in stored.accuracy.items()},
        **{f"task/{key}": value for key, value in stored.tasks.items()},
        "flops_ratio": cost.flops_ratio,
        **{f"flops_ratio/{key}": value for key, value in cost.flops_ratio_by.items()},
        **{f"tokens/{key}": value for key, value in cost.tokens.items()},
        "flops": cost.flops,
        "kv_bytes": cost.kv_bytes,
        "kv_ratio": cost.kv_ratio,
        **({} if cost.milliseconds is None else {"predicted_ms": cost.milliseconds}),
        "scoring_share": cost.scoring_share,
    }


def record_front(
    tracker: Tracker,
    rows: Sequence[FrontRow],
    tally: Tally,
    metrics: Mapping[str, float],
    artefacts: Sequence[Path],
) -> None:
    """Log what a search found on the parent run.

    Args:
        tracker: parent run of the study.
        rows: of the front, one of them chosen.
        tally: of the study.
        metrics: more of them.
        artefacts: files to keep.
    """
    best = next(row for row in rows if row.chosen)
    found = {
        **metrics,
        "failed": tally.failed,
        "raced": tally.raced,
        "watched": tally.calibration_forwards,
        "test/accuracy": best.accuracy,
        "test/flops_ratio": best.flops_ratio,
        **{f"test/accuracy/{key}": interval.mean for key, interval in best.accuracy_by.items()},
        **{f"refused/{rule}": count for rule, count in tally.refused.items()},
    }
    tracker.finish(metrics=found, front=[row.flat() for row in rows], artefacts=artefacts)
