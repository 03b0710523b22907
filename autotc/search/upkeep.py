"""Looking after stored studies: their state, what is wrong with them, and moving, joining and deleting them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import DataError
from autotc.files import replacing
from autotc.policy import Policy
from autotc.records.study import Problem, RunningTrial, StudyState
from autotc.search.account import WORTH
from autotc.search.deaths import FATAL, WORK, Deaths
from autotc.search.errors import SearchError
from autotc.search.home import Home, import_optuna
from autotc.search.leases import BEAT, LOST, worker_of
from autotc.search.locks import hold_study
from autotc.search.storage import VERSIONS, Study, load_study
from autotc.search.trials import RECORD, StoredTrial, trial_front
from autotc.tabular import frame
from autotc.tracking.tracker import SPOOL
from autotc.versions import installed_versions

if TYPE_CHECKING:
    import optuna

_ENDINGS = (".csv", ".parquet")
_SAME = (
    ("budget", "budgets", "budget_ms", "budget_kv", "latency"),
    ("space", "search_limit"),
    ("samples_sha256", "fingerprint", "stamp"),
)
"""Settings in which studies that are joined have to agree: what may be proposed, on what, at what cost."""


def state(study: str, home: Home) -> StudyState:
    """How far a study is, and who works on it.

    Args:
        study: its name.
        home: where it lives.

    Raises:
        SearchError: there is no such study.
    """
    stored = load_study(study, home)
    trials, worth = _all(stored), stored.attribute(WORTH) or {}
    records = [StoredTrial.model_validate(trial.user_attrs[RECORD]) for trial in trials if _whole(trial)]
    kinds = Counter(_kind(trial) for trial in trials)
    return StudyState(
        study=study,
        storage=home.shown,
        folder=str(stored.folder),
        sampler=stored.settings.sampler,
        seed=stored.settings.seed,
        budget=stored.settings.budget,
        asked=stored.settings.trials,
        done=sum(_kind(trial) == "ran" for trial in trials),
        kinds=dict(sorted(kinds.items())),
        forwards=sum(record.forwards for record in records),
        front=len(trial_front(list(stored.records()))),
        running=tuple(_running(trials)),
        policy=worth.get("policy"),
        mlflow_run=stored.mlflow_run,
    )


def doctor(study: str, home: Home) -> list[Problem]:
    """What is wrong with a study, and what to do about it; nothing where all is well.

    Args:
        study: its name.
        home: where it lives.

    Raises:
        SearchError: there is no such study.
    """
    stored = load_study(study, home)
    trials = _all(stored)
    return [*_stuck(study, trials), *_deadly(trials), *_files(stored), *_versions(stored), *_unlogged(stored)]


def delete(study: str, home: Home) -> Path:
    """Delete a study: its trials, its folder with per-sample results; returns the folder. Exported policies stay.

    Args:
        study: its name.
        home: where it lives.

    Raises:
        SearchError: there is no such study, or it is being searched.
    """
    stored = load_study(study, home)
    package = import_optuna()
    with hold_study(stored.folder, study):
        running = list(_running(_all(stored)))
        if any(trial.alive for trial in running):
            raise SearchError(f"study {study}: trial {running[0].trial} runs on {running[0].worker}; end it first")
        runs = stored.split_runs()
        with home.errors():
            package.delete_study(study_name=runs.study_name, storage=home.open())
            package.delete_study(study_name=study, storage=home.open())
    shutil.rmtree(stored.folder, ignore_errors=True)
    return stored.folder


def export(study: str, home: Home, out: str | Path) -> Path:
    """Write the trials of a study as a table, a row each; returns the file.

    Args:
        study: its name.
        home: where it lives.
        out: file to write, ``.csv`` or ``.parquet``.

    Raises:
        SearchError: there is no such study.
        DataError: the file has another ending, or cannot be written.
    """
    out = Path(out)
    if out.suffix not in _ENDINGS:
        raise DataError(f"--out: {out} given; a file that ends in {' or '.join(_ENDINGS)} is right")
    rows = [_row(trial) for trial in _all(load_study(study, home))]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = frame([{key: row.get(key) for key in columns} for row in rows], columns)
    with replacing(out, "--out") as beside:
        if out.suffix == ".csv":
            table.to_csv(beside, index=False)
        else:
            table.to_parquet(beside, index=False)
    return out


def merge(study: str, other: str, home: Home, other_home: Home) -> int:
    """Take the trials of another study of the same model, samples, space and budget over; returns how many were new.

    Args:
        study: name of the study that grows.
        other: name of the study that is read.
        home, other_home: where they live.

    Raises:
        SearchError: there is no such study, they differ in what results depend on, or one is being searched.
    """
    into, source = load_study(study, home), load_study(other, other_home)
    if into.folder.resolve() == source.folder.resolve():
        raise SearchError(f"study {study}: is the one it is to be joined with; name another")
    for key in (key for keys in _SAME for key in keys):
        if getattr(into.settings, key) != getattr(source.settings, key):
            raise SearchError(f"study {other}: has another {key} than {study}; only studies of the same can be joined")
    with hold_study(into.folder, study), hold_study(source.folder, other):
        known = {record.hash for _, record in into.trials()}
        return sum(
            _taken_over(into, source, trial, record) for trial, record in source.trials() if record.hash not in known
        )


def _taken_over(into: Study, source: Study, trial: optuna.trial.FrozenTrial, record: StoredTrial) -> bool:
    """Copy a trial with its per-sample results; False where these are gone, so that it would run again."""
    name = f"{record.hash}.samples.parquet"
    there, here = source.folder / "trials" / name, into.folder / "trials" / name
    if "samples" in trial.user_attrs[RECORD]:
        if not source.samples.find(there):
            return False
        into.samples.copy(there, here)
    kept = import_optuna().trial.create_trial(
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={RECORD: trial.user_attrs[RECORD]},
        system_attrs=trial.system_attrs,
    )
    into.add(kept)
    return True


def _all(stored: Study) -> list[optuna.trial.FrozenTrial]:
    with stored.home.errors():
        return stored.stored.get_trials(deepcopy=False)


def _whole(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether autotc has stored what came of a trial."""
    return "hash" in trial.user_attrs.get(RECORD, {})


def _kind(trial: optuna.trial.FrozenTrial) -> str:
    """What became of a trial, in a word or two."""
    if not _whole(trial):
        return "running" if trial.state.name == "RUNNING" else str(trial.user_attrs.get(LOST, "of another program"))
    record = trial.user_attrs[RECORD]
    if trial.state.name == "COMPLETE":
        return "ran" if record.get("ran") else "put together from known parts"
    return "failed" if trial.state.name == "FAIL" else "refused" if "refused" in record else "given up in a race"


def _running(trials: list[optuna.trial.FrozenTrial]) -> Iterator[RunningTrial]:
    for trial in trials:
        if trial.state.name != "RUNNING":
            continue
        worker = worker_of(trial)
        yield RunningTrial(
            trial=trial.number,
            worker="another program" if worker is None else str(worker),
            since=None if trial.datetime_start is None else trial.datetime_start.isoformat(timespec="seconds"),
            beats=int(trial.user_attrs.get(BEAT, 0)),
            alive=worker is None or not worker.gone,
        )


def _stuck(study: str, trials: list[optuna.trial.FrozenTrial]) -> Iterator[Problem]:
    for running in _running(trials):
        if not running.alive:
            yield Problem(
                f"trial {running.trial}",
                f"has been running since {running.since} on {running.worker}, which is gone",
                f"autotc search --resume {study}, or any autotc worker, gives it to another",
            )


def _deadly(trials: list[optuna.trial.FrozenTrial]) -> Iterator[Problem]:
    deaths = Deaths()
    deaths.look(trial for trial in trials if WORK in trial.user_attrs)
    for _, policy in deaths.unfinished.values():
        times = deaths.times(policy)
        if times:
            ended = "it is not run again" if times >= FATAL else "it is run again"
            yield Problem(
                policy.label(), f"a process ended {times} times while it ran", f"{ended}; look at the machine's memory"
            )


def _files(stored: Study) -> Iterator[Problem]:
    folder = stored.folder / "trials"
    known = {
        stored.folder / "trials" / f"{record.hash}.samples.parquet": (trial, record)
        for trial, record in stored.trials()
    }
    for path, (trial, _) in known.items():
        if trial.state.name == "COMPLETE" and not stored.samples.find(path):
            remedy = "bring it back, or --resume runs it again"
            yield Problem(str(path), f"the per-sample results of trial {trial.number} are gone", remedy)
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else ():
        if path not in known:
            yield Problem(str(path), "belongs to no trial of the study", "it may be deleted")
    for path in sorted(stored.folder.rglob(".*.parquet")):
        yield Problem(str(path), "was left by a write that did not end", "it may be deleted")


def _versions(stored: Study) -> Iterator[Problem]:
    made, here = stored.attribute(VERSIONS) or {}, installed_versions()
    for name, version in made.items():
        if here.get(name) != version:
            found = here.get(name, "none")
            yield Problem(
                name,
                f"{found} is installed, the study was made with {version}",
                "answers may differ between its trials",
            )


def _unlogged(stored: Study) -> Iterator[Problem]:
    path = stored.folder / SPOOL
    if path.is_file():
        yield Problem(str(path), "holds what could not be logged to MLflow", f"autotc study sync {stored.name}")


def _row(trial: optuna.trial.FrozenTrial) -> dict[str, object]:
    """A trial as a flat row."""
    record = trial.user_attrs.get(RECORD, {})
    worker, policy = worker_of(trial), record.get("policy")
    row: dict[str, object] = {
        "trial": trial.number,
        "outcome": _kind(trial),
        "origin": record.get("origin"),
        "accuracy": trial.values[0] if trial.values else None,
        "flops_ratio": trial.values[1] if trial.values else None,
        "samples": record.get("samples"),
        "forwards": record.get("forwards"),
        "reason": record.get("reason") or record.get("error") or record.get("raced"),
        "worker": None if worker is None else worker.name,
        "started": trial.datetime_start,
        "ended": trial.datetime_complete,
        "policy": Policy.from_data(policy).to_yaml() if isinstance(policy, dict) else policy,
    }
    for name in ("accuracy", "tasks", "tokens", "flops_ratio_by"):
        row |= {f"{name}/{key}": value for key, value in record.get(name, {}).items()}
    return row
