"""MLflow: one parent run per study, one nested run per trial. The only file that imports mlflow, and only when used."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autotc.errors import MissingDependencyError
from autotc.policy import Policy

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "autotc"
_HELD = 20
"""Points of the parent's curves that are held back and written together; a write costs about as much as a point."""
_PARAMS_A_CALL = 100


def version() -> str:
    """Version of the installed package, or ``unknown`` when it runs from a source tree that is not installed."""
    try:
        return metadata.version("autotc")
    except metadata.PackageNotFoundError:
        return "unknown"


def metric_name(name: str) -> str:
    """A name that MLflow takes: letters, digits, ``_ - . / :`` and spaces; anything else becomes ``_``."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)


def flat_params(policy: Policy) -> dict[str, str]:
    """A policy's stages as flat parameters, e.g. ``image.0.mechanism``."""
    out: dict[str, str] = {"policy": policy.label()[:500]}
    for modality in policy.modalities:
        for i, stage in enumerate(policy.modality(modality)):
            prefix = f"{modality}.{i}"
            out[f"{prefix}.mechanism"] = stage.mechanism
            out[f"{prefix}.location"] = stage.location
            if stage.layers is not None:
                out[f"{prefix}.layers"] = ",".join(str(layer) for layer, _ in stage.steps())
            elif stage.layer is not None:
                out[f"{prefix}.layers"] = str(stage.layer)
            out[f"{prefix}.keep_ratio"] = ",".join(f"{ratio:g}" for _, ratio in stage.steps())
            out.update({f"{prefix}.params.{key}": str(value)[:500] for key, value in stage.params.items()})
    return out


class Tracker:
    """The parent run of a study, as a context: it ends FINISHED, KILLED on Ctrl-C, or FAILED on another exception.

    Args:
        study: name of the study, and of the run.
        root: folder of the local store, used where no server is named.
        uri: tracking server; None stores in ``root/mlflow.db`` with artefacts in ``root/mlartifacts``.
        params: of the study: budget, seed, code version, dataset hash, ...
        run_id: parent run to go on with, of a resumed study.

    Raises:
        MissingDependencyError: mlflow is not installed.
    """

    def __init__(
        self,
        study: str,
        *,
        root: str | Path = "runs",
        uri: str | None = None,
        params: Mapping[str, object] | None = None,
        run_id: str | None = None,
    ) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        # Alembic reports each migration of a new database; nobody asked.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingDependencyError("mlflow: not installed; pip install 'autotc[search]' brings it") from error
        import logging

        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.study = study
        root = Path(root).resolve()
        self.local = uri is None
        self.uri = uri or f"sqlite:///{root / 'mlflow.db'}"
        artefacts = None
        if self.local:
            root.mkdir(parents=True, exist_ok=True)
            artefacts = (root / "mlartifacts").as_uri()
        self._client: MlflowClient = MlflowClient(tracking_uri=self.uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT, artefacts)
        self._curve: list[tuple[str, float, int]] = []
        if run_id is not None:
            try:
                self._client.update_run(run_id, status="RUNNING")
            except MlflowException:  # the study was tracked elsewhere
                run_id = None
        if run_id is None:
            tags = {"mlflow.runName": study, "autotc.study": study, "autotc.version": version()}
            run_id = self._client.create_run(self._experiment, tags=tags, run_name=study).info.run_id
            self._log(run_id, params={key: str(value)[:500] for key, value in (params or {}).items()})
        self.run_id = str(run_id)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self.flush()
        finally:
            self._client.set_terminated(self.run_id, status=status)

    def trial(
        self,
        number: int,
        policy: Policy,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        error: str | None = None,
    ) -> str:
        """Log one trial as a nested run; returns its id.

        Args:
            number: of the trial.
            policy: what ran; logged as ``policy.yaml`` and as flat parameters.
            metrics: name -> value; names are made such that MLflow takes them.
            params: more parameters, e.g. where the policy came from.
            error: why it failed; the run then ends FAILED.
        """
        tags = {"mlflow.parentRunId": self.run_id, "autotc.study": self.study, "autotc.trial": str(number)}
        if error is not None:
            tags["autotc.error"] = error[:4000]
        name = f"trial-{number}"
        run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)
        status = "FAILED" if error is not None else "FINISHED"
        try:
            more = {key: str(value)[:500] for key, value in (params or {}).items()}
            self._log(run_id, metrics or {}, {**flat_params(policy), **more})
            self._client.log_text(run_id, policy.to_yaml(), "policy.yaml")
        except BaseException:
            status = "KILLED"
            raise
        finally:
            self._client.set_terminated(run_id, status=status)
        return run_id

    def curve(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve of the parent run, e.g. the hypervolume over trials."""
        self._curve.append((metric_name(name), float(value), step))
        if len(self._curve) >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Write the points held back."""
        from mlflow.entities import Metric

        if self._curve:
            now = int(time.time() * 1000)
            held, self._curve = self._curve, []
            self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value, step in held])

    def finish(
        self,
        *,
        metrics: Mapping[str, float],
        front: Sequence[Mapping[str, Any]],
        artefacts: Sequence[str | Path] = (),
    ) -> None:
        """Log what the study found on the parent run.

        Args:
            metrics: name -> value.
            front: rows of the front, logged as the table ``front.json``.
            artefacts: files: the exported policy, its samples, figures.
        """
        self._log(self.run_id, metrics)
        if front:
            keys = list(dict.fromkeys(key for row in front for key in row))
            self._client.log_table(self.run_id, {key: [row.get(key) for row in front] for key in keys}, "front.json")
        for path in artefacts:
            self._client.log_artifact(self.run_id, str(path))

    def _log(
        self, run_id: str, metrics: Mapping[str, float] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        points = [Metric(metric_name(name), float(value), now, 0) for name, value in (metrics or {}).items()]
        pairs = [Param(metric_name(key), value) for key, value in (params or {}).items()]
        for i in range(0, max(1, len(pairs)), _PARAMS_A_CALL):
            self._client.log_batch(run_id, metrics=points if i == 0 else [], params=pairs[i : i + _PARAMS_A_CALL])
