"""The parent run of a study, logged as it goes; where that fails, kept for later, and the work goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from autotc.errors import DataError, MissingDependencyError, one_line
from autotc.policy import Policy
from autotc.tracking.address import Address, resolve
from autotc.tracking.events import (
    CurveEvent,
    EndEvent,
    FinishEvent,
    Status,
    TrialEvent,
    finish_event,
    metric_name,
    short_values,
    trial_event,
)
from autotc.tracking.registry import register
from autotc.tracking.spool import Event, Spool, SpoolHeader
from autotc.tracking.store import MlflowStore

SPOOL = "mlflow-spool.jsonl"
_HELD = 20
"""Points of the parent's curves that are held back and written together; a write costs about as much as a point."""


def version() -> str:
    """Version of the installed package, or ``unknown`` when it runs from a source tree that is not installed."""
    try:
        return metadata.version("autotc")
    except metadata.PackageNotFoundError:
        return "unknown"


class Tracker:
    """The parent run of a study, as a context: it ends FINISHED, KILLED on Ctrl-C, or FAILED on another exception.

    Nothing that MLflow or its server does ends the study: what cannot be logged is kept in ``root/STUDY`` and logged by
    the next tracker of the study, or by `sync`, in order and once. That is told once.

    Args:
        study: name of the study, and of the run.
        root: folder of the local store, used where no server is named, and of what is kept.
        uri: tracking server; None takes the environment's ``MLFLOW_TRACKING_URI``, or ``root/mlflow.db`` with artefacts
            in ``root/mlartifacts``.
        params: of the study: budget, seed, code version, dataset hash, ...
        run_id: parent run to go on with, of a resumed study.
        tell: told once why nothing is logged; None writes it to stderr.

    Raises:
        DataError: MLflow takes no such address.
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
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.study = study
        self.run_id = run_id
        self._address = resolve(uri, root)
        self._spool = Spool(Path(root) / study / SPOOL)
        self._params = short_values(params or {})
        self._tell = tell or _print
        self._store: MlflowStore | None = None
        self._curve: list[tuple[str, float, int]] = []
        self._goes_on = run_id is not None
        try:
            self._open()
        except MissingDependencyError:
            raise
        except Exception as error:
            self._lose(error)

    @property
    def uri(self) -> str:
        """Where runs are logged, without a password."""
        return self._address.shown

    def _open(self) -> None:
        """Connect, open the parent run, and log what was kept of earlier calls."""
        store = MlflowStore(self._address)
        header, events = self._spool.read()
        run_id = self.run_id or (header.run_id if header is not None else None)
        self.run_id = store.begin(self.study, self._params, self._tags, run_id)
        for event in events:
            if not isinstance(event, EndEvent):
                self._deliver(store, event, again=True)
        self._spool.remove()
        self._store = store

    @property
    def _tags(self) -> dict[str, str]:
        return {"autotc.study": self.study, "autotc.version": version()}

    def _lose(self, error: Exception) -> None:
        """Nothing is logged from now on, but kept."""
        self._store = None
        self._tell(
            f"MLflow at {self.uri} fails ({one_line(self._address.without_secrets(error), 120)}); the work goes on"
            f" without it, its record is kept in {self._spool.path}: autotc study sync {self.study} logs it later"
        )

    def _log(self, event: Event) -> None:
        """Log an event, or keep it."""
        if self._store is not None:
            try:
                self._deliver(self._store, event, again=self._goes_on)
            except Exception as error:
                self._lose(error)
            else:
                return
        address = None if self._address.artefacts is not None else self.uri
        self._spool.begin(SpoolHeader(study=self.study, params=self._params, run_id=self.run_id, address=address))
        self._spool.append(event)

    def _deliver(self, store: MlflowStore, event: Event, *, again: bool = False) -> None:
        """Log an event; ``again``: it may have been logged in part."""
        assert self.run_id is not None  # the store has begun it
        match event:
            case TrialEvent():
                store.trial(self.run_id, self.study, event, again=again)
            case CurveEvent():
                store.curve(self.run_id, event)
            case FinishEvent():
                store.finish(self.run_id, event)
            case EndEvent():
                store.end(self.run_id, event)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status: Status = "FINISHED" if kind is None else "FAILED"
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            status = "KILLED"
        self.flush()
        self._log(EndEvent(status=status))

    def logged_trials(self) -> set[int] | None:
        """Numbers of the trials that were logged whole before; None where MLflow does not tell."""
        if self._store is None or self.run_id is None:
            return None
        try:
            return self._store.trials(self.run_id)
        except Exception as error:
            self._lose(error)
            return None

    def trial(
        self,
        number: int,
        policy: Policy,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        error: str | None = None,
    ) -> None:
        """Log one trial as a nested run.

        Args:
            number: of the trial.
            policy: what ran; logged as ``policy.yaml`` and as flat parameters.
            metrics: name -> value; names are made such that MLflow takes them.
            params: more parameters, e.g. where the policy came from.
            error: why it failed; the run then ends FAILED.
        """
        self._log(trial_event(number, policy, metrics or {}, params or {}, error))

    def curve(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve of the parent run, e.g. the hypervolume over trials."""
        self._curve.append((metric_name(name), float(value), step))
        if len(self._curve) >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Log the points held back."""
        if self._curve:
            points, self._curve = self._curve, []
            self._log(CurveEvent(points=points))

    def finish(
        self,
        *,
        metrics: Mapping[str, float],
        front: Sequence[Mapping[str, Any]],
        artefacts: Sequence[str | Path] = (),
        policy: str | Path | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """Log what the study found on the parent run.

        Args:
            metrics: name -> value.
            front: rows of the front, logged as the table ``front.json``.
            artefacts: files: the exported policy, its samples, figures.
            policy: file of the exported policy, for ``runs:/ID``.
            tags: name -> value, to search runs by; ``mlflow.note.content`` is the description, in Markdown.
            datasets: name, digest and profile (a JSON text) of each split.
        """
        self._log(finish_event(metrics, front, artefacts, policy, tags, datasets))

    def register(self, name: str, policy: Path, description: str) -> int | None:
        """Register a policy file of the study; its version, or None where MLflow fails, which is told.

        Raises:
            DataError: the name is none that MLflow takes.
        """
        if self._store is not None and self.run_id is not None:
            try:
                return register(self._store, self.run_id, name, policy, description)
            except DataError:
                raise
            except Exception as error:
                self._lose(error)
        self._tell(f"{policy}: not registered; autotc registry register {name} {policy} does it later")
        return None


def sync_spool(path: Path, root: Path, uri: str | None = None, run_id: str | None = None) -> tuple[str, int]:
    """Log what a tracker has kept.

    Args:
        path: of the spool.
        root: folder of the local store.
        uri: where to log; None takes the address that it was to be logged to.
        run_id: parent run of the study, where one is known.

    Returns:
        Id of the parent run, and how many events were logged.

    Raises:
        DataError: there is no spool, its address needs a password, or nothing could be logged; what is kept stays.
    """
    spool = Spool(path)
    header, events = spool.read()
    if header is None:
        raise DataError(f"{path}: nothing is kept there; all that was to be logged has been")
    if uri is None and header.address is not None:
        if "***" in header.address:
            raise DataError(f"tracking_uri: missing; {header.address} needs its password")
        uri = header.address
    address: Address = resolve(uri, root)
    try:
        store = MlflowStore(address)
        tags = {"autotc.study": header.study, "autotc.version": version()}
        run = store.begin(header.study, header.params, tags, run_id or header.run_id)
        for event in events:
            match event:
                case TrialEvent():
                    store.trial(run, header.study, event, again=True)
                case CurveEvent():
                    store.curve(run, event)
                case FinishEvent():
                    store.finish(run, event)
        ends = [event for event in events if isinstance(event, EndEvent)]
        store.end(run, ends[-1] if ends else EndEvent(status="KILLED"))
    except MissingDependencyError:
        raise
    except Exception as error:
        reason = one_line(address.without_secrets(error), 120)
        raise DataError(f"MLflow at {address.shown} fails ({reason}); what is kept in {path} stays") from error
    spool.remove()
    return run, len(events)


def _print(message: str) -> None:
    print(f"autotc: {message}", file=sys.stderr)
