"""A connection to MLflow. The only file that imports mlflow, and only when a connection is made."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import MissingDependencyError
from autotc.tracking.address import Address
from autotc.tracking.events import CurveEvent, EndEvent, FinishEvent, TrialEvent, metric_name

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

EXPERIMENT = "autotc"
POLICY_FOLDER = "policy"
"""Folder of a run's artefacts that holds the policy that the run found, under names that do not hang on the study's."""
POLICY_FILE = "policy.yaml"
"""Name of the policy in it; files beside it begin with the same word."""
_ENDINGS = (".yaml", ".samples.parquet", ".uncompressed.samples.parquet")
_PARAMS_A_CALL = 100
_TABLE = "front.json"
_TABLES_TAG = "mlflow.loggedArtifacts"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # Alembic reports each migration of a new database; nobody asked.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Set where the user has set nothing: a server that is down is told in seconds, not in minutes."""


class MlflowStore:
    """The experiment at an address, and what is logged there.

    Args:
        address: to log to.

    Raises:
        MissingDependencyError: mlflow is not installed.
        Exception: whatever MLflow or its database raises where the address does not answer or is damaged.
    """

    def __init__(self, address: Address) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingDependencyError("mlflow: not installed; pip install 'autotc[search]' brings it") from error
        logging.getLogger("alembic").setLevel(logging.WARNING)
        address.probe()
        if address.artefacts is not None and address.database is not None:
            address.database.parent.mkdir(parents=True, exist_ok=True)
            _follow_move(address.database, address.artefacts)
        self._client: MlflowClient = MlflowClient(tracking_uri=address.uri)
        self._experiment = self._open_experiment(address.artefacts)

    def _open_experiment(self, artefacts: str | None) -> str:
        """Id of the experiment; of the next free name where the user has deleted it."""
        name, number = EXPERIMENT, 1
        while True:
            experiment: Experiment | None = self._client.get_experiment_by_name(name)
            if experiment is None:
                return str(self._client.create_experiment(name, artefacts))
            if experiment.lifecycle_stage == "active":
                return str(experiment.experiment_id)
            number += 1
            name = f"{EXPERIMENT}-{number}"

    def begin(self, study: str, params: Mapping[str, str], tags: Mapping[str, str], run_id: str | None) -> str:
        """Id of a study's parent run, which is running from now on; made where there is none or it was deleted.

        Nested runs that a kill has left running are ended.
        """
        if run_id is not None and self._reopen(run_id):
            return run_id
        run = self._client.create_run(self._experiment, tags={"mlflow.runName": study, **tags}, run_name=study)
        self._log(run.info.run_id, {}, params, run.info.start_time)
        return str(run.info.run_id)

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
            if run.info.lifecycle_stage != "active" or run.info.experiment_id != self._experiment:
                return False
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False  # the study was tracked elsewhere
        running = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'"
        for nested in self._client.search_runs([self._experiment], filter_string=running):
            self._client.set_terminated(nested.info.run_id, status="KILLED")
        return True

    def trial(self, parent: str, study: str, event: TrialEvent, *, again: bool = False) -> str:
        """Log a trial as a nested run; ``again``: it may have been logged in part before. Returns the run's id."""
        run_id = self._nested(parent, event.number) if again else None
        if run_id is None:
            tags = {"mlflow.parentRunId": parent, "autotc.study": study, "autotc.trial": str(event.number)}
            if event.error is not None:
                tags["autotc.error"] = event.error[:4000]
            run = self._client.create_run(
                self._experiment, start_time=event.time, tags=tags, run_name=f"trial-{event.number}"
            )
            run_id = str(run.info.run_id)
        status = "KILLED"
        try:
            self._log(run_id, event.metrics, event.params, event.time)
            self._client.log_text(run_id, event.policy, "policy.yaml")
            status = "FAILED" if event.error is not None else "FINISHED"
        finally:
            self._client.set_terminated(run_id, status=status)
        return run_id

    def _nested(self, parent: str, number: int) -> str | None:
        """Id of a trial's run, where it was made before."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`autotc.trial` = '{number}'"
        runs = self._client.search_runs([self._experiment], filter_string=wanted, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def trials(self, parent: str) -> set[int]:
        """Numbers of the trials that are logged whole under a parent run."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent}'"
        numbers: set[int] = set()
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], filter_string=wanted, page_token=token)
            whole = [run for run in page if run.info.status in ("FINISHED", "FAILED")]
            tags = [run.data.tags.get("autotc.trial", "") for run in whole]
            numbers.update(int(tag) for tag in tags if tag.isdecimal())
            token = page.token
            if not token:
                return numbers

    def curve(self, parent: str, event: CurveEvent) -> None:
        """Add points to the parent run's curves."""
        from mlflow.entities import Metric

        points = [Metric(name, value, event.time, step) for name, value, step in event.points]
        self._client.log_batch(parent, metrics=points)

    def finish(self, parent: str, event: FinishEvent) -> None:
        """Log metrics, table and files on the parent run; a table of an earlier call is replaced."""
        self._log(parent, event.metrics, {}, event.time)
        for name, value in event.tags.items():
            self._client.set_tag(parent, name, value)
        self._log_datasets(parent, event)
        if event.rows:
            self._client.log_dict(parent, {"columns": event.columns, "data": event.rows}, _TABLE)
            self._client.set_tag(parent, _TABLES_TAG, json.dumps([{"path": _TABLE, "type": "table"}]))
        if event.policy is not None and Path(event.policy).is_file():
            self.keep_policy(parent, Path(event.policy))
        for path in event.artefacts:
            if Path(path).is_file():
                self._client.log_artifact(parent, path)

    def _log_datasets(self, parent: str, event: FinishEvent) -> None:
        """Name the splits as the run's inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(name=name, digest=digest[:36], source_type="code", source="{}", profile=profile),
                [InputTag("mlflow.data.context", name.rpartition(" ")[2])],
            )
            for name, digest, profile in event.datasets
        ]
        if inputs:
            self._client.log_inputs(parent, datasets=inputs)

    def end(self, parent: str, event: EndEvent) -> None:
        """End the parent run."""
        self._client.set_terminated(parent, status=event.status)

    # --- the model registry ---

    def new_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Id of a finished run of its own, for files that no study's run holds."""
        run = self._client.create_run(self._experiment, tags={"mlflow.runName": name, **tags}, run_name=name)
        self._client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def keep_policy(self, run_id: str, policy: Path) -> None:
        """Keep a policy file, with its samples files, in the `POLICY_FOLDER` of a run's artefacts."""
        with tempfile.TemporaryDirectory() as beside:
            for ending in _ENDINGS:
                path = policy.with_suffix(ending)
                if path.is_file():
                    shutil.copy(path, Path(beside) / f"{POLICY_FOLDER}{ending}")
            self._client.log_artifacts(run_id, beside, POLICY_FOLDER)

    def download(self, run_id: str, name: str, into: Path) -> Path | None:
        """Bring a folder of a run's artefacts; None where the run has no such folder."""
        if not self._client.list_artifacts(run_id, name):
            return None
        return Path(self._client.download_artifacts(run_id, name, str(into)))

    def add_version(self, name: str, run_id: str, folder: str, description: str) -> int:
        """Number of a new version of a registered model, which is made where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, tags={"autotc": "policy"})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{folder}"
        made = self._client.create_model_version(
            name, source, run_id, description=description, tags={"autotc": "policy"}
        )
        return int(made.version)

    def version_of(self, name: str, alias: str) -> int:
        """Number of the version that has an alias."""
        return int(self._client.get_model_version_by_alias(name, alias).version)

    def run_of(self, name: str, version: int | str) -> str:
        """Id of the run that holds a version's files."""
        return str(self._client.get_model_version(name, str(version)).run_id)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version, of a registered model."""
        return {alias: int(version) for alias, version in self._client.get_registered_model(name).aliases.items()}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Give an alias to a version; another one loses it."""
        self._client.set_registered_model_alias(name, alias, str(version))

    def remember(self, name: str, key: str, value: str) -> None:
        """Keep a tag of a registered model."""
        self._client.set_registered_model_tag(name, key, value)

    def remembered(self, name: str, key: str) -> str | None:
        """A tag of a registered model."""
        value: str | None = self._client.get_registered_model(name).tags.get(key)
        return value

    def versions(self) -> list[tuple[str, int, list[str], str]]:
        """Name, version, aliases and description of all that autotc registered, newest version first."""
        found = []
        for model in self._client.search_registered_models("tags.autotc = 'policy'"):
            name = model.name.replace("'", "''")
            for one in self._client.search_model_versions(f"name = '{name}'"):
                aliases = sorted(alias for alias, number in model.aliases.items() if str(number) == str(one.version))
                found.append((str(model.name), int(one.version), aliases, one.description or ""))
        return sorted(found, key=lambda row: (row[0], -row[1]))

    def _log(self, run_id: str, metrics: Mapping[str, float], params: Mapping[str, str], time: int) -> None:
        from mlflow.entities import Metric, Param

        points = [Metric(name, value, time, 0) for name, value in metrics.items()]
        pairs = [Param(metric_name(key), value) for key, value in params.items()]
        for i in range(0, max(1, len(pairs)), _PARAMS_A_CALL):
            self._client.log_batch(run_id, metrics=points if i == 0 else [], params=pairs[i : i + _PARAMS_A_CALL])


def _follow_move(database: Path, artefacts: str) -> None:
    """Have a local store's runs keep their artefacts beside its database, also where its folder was moved or copied.

    MLflow writes down where artefacts are as an absolute address, and offers nothing to change it.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=5.0)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"experiments", "runs"} <= tables:
            return
        ours = "SELECT experiment_id, artifact_location FROM experiments WHERE name = ? OR name LIKE ?"
        for experiment, before in connection.execute(ours, (EXPERIMENT, f"{EXPERIMENT}-%")).fetchall():
            # A new experiment's folder is the address itself, or a folder of its number in it.
            if not before or before == artefacts or not before.endswith("/mlartifacts"):
                continue
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (artefacts, experiment)
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id = ?"
                " AND substr(artifact_uri, 1, ?) = ?",
                (artefacts, len(before) + 1, experiment, len(before) + 1, f"{before}/"),
            )
