"""The database of studies: looked at before Optuna opens it, and errors told in one line with what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotc.errors import MissingDependencyError, one_line
from autotc.search.errors import SearchError

if TYPE_CHECKING:
    import optuna

DATABASE = "studies.db"
_TABLES = {
    "studies",
    "study_directions",
    "study_user_attributes",
    "study_system_attributes",
    "trials",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "version_info",
}
"""That Optuna cannot do without; it makes a missing one anew, empty, without a word."""
_SECONDS = 5.0
"""That a locked database is waited for."""


def storage_url(runs: Path) -> str:
    """URL of the Optuna storage in a folder."""
    return f"sqlite:///{runs / DATABASE}"


def open_storage(runs: Path) -> optuna.storages.RDBStorage:
    """Open the storage of a folder; it is made where there is none.

    Raises:
        SearchError: its file is no database, is damaged, locked, or of another Optuna.
        MissingDependencyError: Optuna is not installed.
    """
    package = import_optuna()
    _look_at(runs / DATABASE)
    with database_errors(runs):
        # Opened once: opening checks the schema, which takes a while.
        storage: optuna.storages.RDBStorage = package.storages.RDBStorage(storage_url(runs))
    return storage


def _look_at(path: Path) -> None:
    """Raise where a database cannot be used as it is."""
    if path.is_dir():
        raise SearchError(f"{path}: is a folder; give another --runs")
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with closing(sqlite3.connect(path, timeout=_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
            held = "studies" in tables and connection.execute("SELECT count(*) FROM studies").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise SearchError(f"{path}: is locked by another program; close it and run this again") from error
        raise SearchError(f"{path}: cannot be used ({error}); give another --runs") from error
    except sqlite3.DatabaseError as error:
        raise SearchError(f"{path}: is damaged ({error}); restore it from a copy, or give another --runs") from error
    missing = sorted(_TABLES - tables)
    if missing and (held or ("studies" not in tables and tables & _TABLES)):
        raise SearchError(f"{path}: is damaged (no table {missing[0]}); restore it from a copy, or give another --runs")


@contextmanager
def database_errors(runs: Path) -> Iterator[None]:
    """Errors of Optuna and its database in the block become one line.

    Raises:
        SearchError: in their place; what is stored already stays.
    """
    from sqlalchemy.exc import SQLAlchemyError

    path = runs / DATABASE
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = one_line(cause, 100)
        remedy = "make room" if "full" in reason else "close what else uses it" if "locked" in reason else "look at it"
        raise SearchError(f"{path}: cannot be used ({reason}); {remedy}, then go on with --resume") from error
    except RuntimeError as error:
        if "version" not in str(error):
            raise
        raise SearchError(
            f"{path}: was written by another version of Optuna ({one_line(error, 100)});"
            " install that one, or give another --runs"
        ) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] != "optuna":
            raise
        cause = error.__cause__ or error
        reason = one_line(getattr(cause, "orig", None) or cause, 100)
        raise SearchError(f"{path}: cannot be used ({reason}); then go on with --resume") from error


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("optuna: not installed; pip install 'autotc[search]' brings it") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
