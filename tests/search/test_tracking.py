"""What a search leaves in MLflow's local store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from mlflow.tracking import MlflowClient

from autotc.policy import Policy
from autotc.search import session
from autotc.search.engine import Engine
from autotc.search.errors import SearchInterrupted
from autotc.search.recording import record_trial
from autotc.search.session import search
from autotc.tracking import Tracker
from autotc.vocabulary import Split

from .synthetic import GROUPS, SyntheticEvaluator


def test_search_logs_a_parent_and_a_run_per_trial_also_across_an_interruption(tmp_path: Path) -> None:
    ran: list[str] = []

    def interrupt(policy: Policy, split: Split) -> None:
        ran.append(split)
        if len(ran) == 16:
            raise KeyboardInterrupt

    runs = tmp_path / "runs"
    with pytest.raises(SearchInterrupted) as caught:
        search(SyntheticEvaluator(on_run=interrupt), trials=6, runs=runs, out_dir=tmp_path)
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autotc")
    assert experiment is not None
    assert {run.info.status for run in client.search_runs([experiment.experiment_id])} == {"KILLED", "FINISHED"}

    evaluator = SyntheticEvaluator(failing="divprune")
    result = search(evaluator, runs=runs, out_dir=tmp_path, study_name=caught.value.study, resume=True)
    found = client.search_runs([experiment.experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert result.mlflow_uri == f"sqlite:///{runs.resolve() / 'mlflow.db'}"
    assert len(parents) == 1
    parent = parents[0]
    assert parent.info.status == "FINISHED"
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in nested)
    finished = [run for run in nested if run.info.status == "FINISHED"]
    failed = [run for run in nested if run.info.status == "FAILED"]
    assert len(finished) == result.trials == 6
    assert len(failed) == result.failed > 0
    assert "divprune" in failed[0].data.tags["autotc.error"]

    metrics = finished[0].data.metrics
    expected = {"accuracy", "flops_ratio", "accuracy/image", "task/image-task", "accuracy/image_audio", "tokens/audio"}
    assert expected <= set(metrics)
    assert sum(key.startswith("task/") for key in metrics) == len(GROUPS)
    assert any(key.endswith(".mechanism") for key in finished[0].data.params)
    assert Policy.from_yaml(mlflow.artifacts.load_text(f"{finished[0].info.artifact_uri}/policy.yaml")).stages

    assert {"budget", "seed", "version", "dataset_sha256", "split_seed"} <= set(parent.data.params)
    assert parent.data.metrics["hypervolume"] == pytest.approx(result.hypervolume)
    curve = client.get_metric_history(parent.info.run_id, "hypervolume")
    assert {point.step for point in curve} >= {1, 2, 3, 4, 5, 6}
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    exported = {result.policy.name, f"{result.policy.stem}.samples.parquet"}
    assert {"front.json", "front.png", "front.html"} | exported <= names


class Killed(BaseException):
    """What no handler of the search catches: the process is gone."""


def test_trials_that_a_kill_kept_from_the_record_are_logged_by_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def record(tracker: Tracker, engine: Engine, number: int, *rest: Any) -> None:
        if len(seen) == 2:
            raise Killed
        seen.append(number)
        record_trial(tracker, engine, number, *rest)

    runs = tmp_path / "runs"
    with monkeypatch.context() as patched:
        patched.setattr(session, "record_trial", record)
        with pytest.raises(Killed):
            search(SyntheticEvaluator(), trials=6, runs=runs, out_dir=tmp_path, study_name="killed")
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("autotc")
    assert experiment is not None

    # What the kill cut off: a run that had begun.
    first = client.search_runs([experiment.experiment_id], filter_string=f"tags.`autotc.trial` = '{seen[0]}'")[0]
    client.update_run(first.info.run_id, "RUNNING")
    search(SyntheticEvaluator(), runs=runs, out_dir=tmp_path, study_name="killed", resume=True)
    stored = optuna.load_study(study_name="killed", storage=f"sqlite:///{runs / 'studies.db'}").trials
    ran = [trial.number for trial in stored if "refused" not in trial.user_attrs]
    nested = client.search_runs([experiment.experiment_id], filter_string="tags.`autotc.trial` != ''")
    assert sorted(int(run.data.tags["autotc.trial"]) for run in nested) == ran
    assert {run.info.status for run in nested} == {"FINISHED"}
    assert all("accuracy" in run.data.metrics for run in nested)
