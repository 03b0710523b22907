"""Studies as they are stored: an Optuna study a search, its trials, and their per-sample results beside it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autotc.errors import DataError, quote
from autotc.names import nearest
from autotc.policy import Policy
from autotc.search.errors import SearchError
from autotc.search.home import Home, import_optuna
from autotc.search.locks import hold_runs
from autotc.search.samples import Samples
from autotc.search.settings import SearchSettings, StudySettings, study_base_name
from autotc.search.trials import RECORD, StoredTrial, TrialRecord, stored_trials, trial_front, trial_records
from autotc.stamp import Stamp
from autotc.versions import installed_versions

if TYPE_CHECKING:
    import optuna

VERSIONS = "versions"
"""Attribute of a study: the packages that it was made with."""
SPLIT_RUNS = ".runs"
"""Ending of the name of the study beside a study that holds runs on whole splits."""


class Study:
    """A stored study.

    Attributes:
        name: of the study.
        settings: it was made with.
        home: where it lives.
        folder: of per-sample results, figures and the policies of the front.
    """

    def __init__(self, stored: optuna.Study, home: Home, settings: StudySettings) -> None:
        self._stored = stored
        self.name: str = stored.study_name
        self.settings = settings
        self.home = home
        self.folder = home.runs / self.name
        self.samples = Samples(home.runs, settings.artifacts)

    @property
    def stored(self) -> optuna.Study:
        """The study as Optuna keeps it."""
        return self._stored

    def __len__(self) -> int:
        return sum("hash" in trial.user_attrs.get(RECORD, {}) for trial in self._trials())

    def trials(self) -> Iterator[tuple[optuna.trial.FrozenTrial, StoredTrial]]:
        """Trials that this version of autotc wrote, in order, as Optuna and as autotc keep them."""
        return stored_trials(self._trials())

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        with self.home.errors():
            return self.home.patiently(lambda: self._stored.get_trials(deepcopy=False))

    def records(self) -> Iterator[TrialRecord]:
        """The feasible trials that ran, in order."""
        return trial_records(self.trials())

    def add(self, trial: optuna.trial.FrozenTrial) -> int:
        """Store a trial, whole, in one transaction; returns its number.

        Raises:
            SearchError: the storage cannot be written.
        """
        storage = self._stored._storage
        with self.home.errors():
            added = self.home.patiently(lambda: storage.create_new_trial(self._stored._study_id, template_trial=trial))
            return self.home.patiently(lambda: storage.get_trial_number_from_id(added))

    def attribute(self, key: str) -> Any:
        """What `note` has kept under a key; None where it has nothing."""
        with self.home.errors():
            return self.home.patiently(lambda: self._stored.user_attrs).get(key)

    def note(self, key: str, value: Any) -> None:
        """Keep an attribute of the study: ``mlflow_run``, ``uncompressed``, ``context``, ``worth``, ...

        Raises:
            SearchError: the storage cannot be written.
        """
        with self.home.errors():
            self.home.patiently(lambda: self._stored.set_user_attr(key, value))

    @property
    def mlflow_run(self) -> str | None:
        """Id of the study's parent run in MLflow."""
        run: str | None = self.attribute("mlflow_run")
        return run

    def samples_file(self, policy: Policy) -> Path:
        """Per-sample results of a policy on the search split."""
        return self.folder / "trials" / f"{policy.content_hash()}.samples.parquet"

    def split_runs(self) -> optuna.Study:
        """The study beside it that holds runs on whole splits; it is made where there is none.

        Raises:
            SearchError: the storage cannot be written.
        """
        package, name = import_optuna(), f"{self.name}{SPLIT_RUNS}"
        with self.home.errors():
            made: optuna.Study = self.home.patiently(
                lambda: package.create_study(
                    study_name=name, storage=self._stored._storage, direction="maximize", load_if_exists=True
                )
            )
        return made


def create_study(settings: StudySettings, home: Home) -> Study:
    """Make a study; beside one of the same settings, under a name with a number.

    Policies carry the name without the number, so that equal searches write equal files.

    Raises:
        SearchError: the storage cannot be used.
    """
    optuna = import_optuna()
    with hold_runs(home.runs):
        storage = home.open()
        with home.errors():
            for name in _same_name(settings.base_name, _names(storage)):
                stored = optuna.load_study(study_name=name, storage=storage)
                if "settings" not in stored.user_attrs and not stored.get_trials(deepcopy=False):
                    optuna.delete_study(study_name=name, storage=storage)  # its maker was killed before it began
            stored = _made(storage, settings.base_name)
            stored.set_user_attr(VERSIONS, installed_versions())
            stored.set_user_attr("settings", settings.model_dump(mode="json"))
    return Study(stored, home, settings)


def _made(storage: optuna.storages.BaseStorage, base_name: str) -> optuna.Study:
    """A new study under the first name that is free; another machine may take one at the same time."""
    package = import_optuna()
    while True:
        same = _same_name(base_name, _names(storage))
        name = base_name if not same else f"{base_name}~{len(same) + 1}"
        with suppress(package.exceptions.DuplicatedStudyError):
            made: optuna.Study = package.create_study(
                study_name=name, storage=storage, directions=["maximize", "minimize"]
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # names of metrics are marked experimental
                made.set_metric_names(["accuracy", "FLOPs ratio"])
            return made


def resume_study(settings: SearchSettings, samples_sha256: str, stamp: Stamp) -> Study:
    """Open a study and hold what is given against what it was made with.

    Args:
        settings: as given.
        samples_sha256: of the search split that the search would go on with.
        stamp: of the evaluator's results on it.

    Raises:
        SearchError: there is none, or it was made with another setting, other samples or another model.
    """
    optuna = import_optuna()
    home, base_name = settings.home, study_base_name(settings)
    if not home.made:
        raise _unknown_study(base_name, home, [])
    with hold_runs(home.runs):
        storage = home.open()
        with home.errors():
            known = _names(storage)
            same = _same_name(base_name, known)
            if not same:
                raise _unknown_study(base_name, home, known)
            # Who names a study means that one; of a search's usual name, the latest is meant.
            name = base_name if settings.study_name in known else same[-1]
            stored = optuna.load_study(study_name=name, storage=storage)
    own = _settings(stored)
    contradiction = own.contradiction(settings, name)
    if contradiction is not None:
        raise SearchError(contradiction)
    for given, kept, what in (
        (samples_sha256, own.samples_sha256, "samples"),
        (stamp.fingerprint, own.fingerprint, "weights or model"),
    ):
        if given != kept:
            raise SearchError(f"study {name}: was made with other {what}; start a new one")
    if own.stamp is not None:
        # Another version of autotc may go on with a study.
        kept_stamp = own.stamp.model_copy(update={"version": stamp.version})
        try:
            kept_stamp.require(stamp, f"study {name}", "start a new one")
        except DataError as error:
            raise SearchError(str(error)) from error
    return Study(stored, home, own.resumed(settings))


def list_studies(home: Home) -> list[str]:
    """Names of the stored studies, in order of their making."""
    if not home.made:
        return []
    with home.errors():
        return _names(home.open())


def load_study(study: str, home: Home) -> Study:
    """A stored study.

    Raises:
        SearchError: there is no such study, or it was never begun.
    """
    stored = _load(study, home)
    return Study(stored, home, _settings(stored))


def load_trials(study: str, home: Home) -> list[TrialRecord]:
    """The feasible trials of a stored study, in order.

    Raises:
        SearchError: there is no such study.
    """
    stored = _load(study, home)
    with home.errors():
        return list(trial_records(stored_trials(home.patiently(lambda: stored.get_trials(deepcopy=False)))))


def load_front(study: str, home: Home) -> list[TrialRecord]:
    """The front of a stored study on its search split, cheapest first; raises as `load_trials`."""
    return trial_front(load_trials(study, home))


def _load(study: str, home: Home) -> optuna.Study:
    if not home.made:
        raise _unknown_study(study, home, [])
    storage, package = home.open(), import_optuna()
    with home.errors():
        known = home.patiently(lambda: _names(storage))
        if study not in known:
            raise _unknown_study(study, home, known)
        stored: optuna.Study = home.patiently(lambda: package.load_study(study_name=study, storage=storage))
    return stored


def _settings(stored: optuna.Study) -> StudySettings:
    """What a study was made with.

    Raises:
        SearchError: it has no settings, or what it has is none.
    """
    if "settings" not in stored.user_attrs:
        raise SearchError(
            f"study {stored.study_name}: has no settings, since the search that made it was killed as it began;"
            " start it again without --resume"
        )
    try:
        return StudySettings.model_validate(stored.user_attrs["settings"])
    except ValidationError as error:
        what = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise SearchError(
            f"study {stored.study_name}: its settings are damaged ({what}); start it again without --resume"
        ) from error


def _names(storage: optuna.storages.BaseStorage) -> list[str]:
    """Names of the studies of a storage, which lists them in order of their making."""
    return [study.study_name for study in storage.get_all_studies() if not study.study_name.endswith(SPLIT_RUNS)]


def _same_name(base_name: str, known: list[str]) -> list[str]:
    """Studies of a name, with or without a number behind it."""
    pattern = re.compile(re.escape(base_name) + r"(~\d+)?")
    return [study for study in known if pattern.fullmatch(study)]


def _unknown_study(study: str, home: Home, known: list[str]) -> SearchError:
    return SearchError(f"study: {quote(study)} is not in {home.shown}; {nearest(study, known)}")
