"""What a search leaves in MLflow: parameters of the study, metrics of each trial, the front."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotc.evaluate.base import Evaluator
from autotc.records.account import StudyAccount
from autotc.report.study_page import commands, study_markdown
from autotc.results import SplitCost
from autotc.search.engine import Engine
from autotc.search.outcome import Failed, Known, Outcome, Ran, Refused
from autotc.search.problem import Problem
from autotc.search.result import FrontRow
from autotc.search.settings import SearchSettings, StudySettings
from autotc.search.storage import Study
from autotc.search.tally import Tally
from autotc.search.trials import StoredTrial
from autotc.tracking import Tracker, version

_IMPORTANCES = 8
"""Parameters whose importance is logged."""


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
    account: StudyAccount,
) -> None:
    """Log what a search found on the parent run.

    Args:
        tracker: parent run of the study.
        rows: of the front, one of them chosen.
        tally: of the study.
        metrics: more of them.
        artefacts: files to keep.
        account: of the study, for the run's description, tags and datasets.
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
    found |= {f"importance/{name}": value for name, value in _first(account.importances, _IMPORTANCES).items()}
    tracker.finish(
        metrics=found,
        front=[row.flat() for row in rows],
        artefacts=artefacts,
        policy=best.policy,
        tags=run_tags(account, [path.name for path in artefacts]),
        datasets=datasets(account),
    )


def _first(values: Mapping[str, float], most: int) -> dict[str, float]:
    """The largest values."""
    return dict(sorted(values.items(), key=lambda item: -item[1])[:most])


def run_tags(account: StudyAccount, files: Sequence[str]) -> dict[str, str]:
    """Tags of a study's parent run, to search by, and its description: the answer, tables, what to look at and to type.

    Args:
        account: of the study.
        files: names of the run's artefacts.
    """
    chosen = account.chosen
    stages = () if chosen is None else chosen.stages
    lines = [study_markdown(account), "", "To look at, among the artefacts:", ""]
    lines += [f"- `{name}`" for name in files if name.endswith((".html", ".png"))]
    lines += ["", "To type next:", "", *(f"    {command}" for command in commands(account))]
    return {
        "mlflow.note.content": "\n".join(lines),
        "autotc.model": account.model,
        "autotc.evaluator": account.evaluator,
        "autotc.modalities": ",".join(account.usual_tokens),
        "autotc.budget": ", ".join(f"{name} {limit:g}" for name, limit in account.budget.items()) or "none",
        "autotc.mechanisms": ",".join(dict.fromkeys(stage.mechanism for stage in stages)),
        "autotc.locations": ",".join(dict.fromkeys(stage.location for stage in stages)),
    }


def datasets(account: StudyAccount) -> list[tuple[str, str, str]]:
    """Name, digest and profile of each split, as MLflow names inputs."""
    out = []
    for split, counts in account.samples.items():
        profile = json.dumps({**counts, "samples": sum(counts.values())})
        digest = hashlib.sha256(f"{account.samples_sha256} {split} {profile}".encode()).hexdigest()[:16]
        out.append((f"{account.evaluator} {split}", digest, profile))
    return out
