"""Where studies live: a folder, and a storage of Optuna's that may be a database on another machine."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from autotc.errors import MissingDependencyError, one_line, quote
from autotc.search.errors import SearchError
from autotc.tracking.address import masked

if TYPE_CHECKING:
    import optuna

DATABASE = "studies.db"
VARIABLE = "AUTOTC_STORAGE"
"""Names the storage where no option does, so that a password stands in no command line."""
_SQL = {"sqlite": None, "postgresql": "psycopg", "mysql": "pymysql"}
"""Databases that Optuna takes -> driver that is asked for where the address names none."""
_RIGHT = "sqlite:///FILE, postgresql://, mysql://, journal:///FILE or grpc://HOST:PORT is right"
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
_PATIENCE = 60.0
"""Seconds that one worker waits for another to have written to a database file."""
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between tries while a server does not answer, e.g. since it is being restarted."""
_LOST = ("StorageInternalError", "OperationalError", "InterfaceError", "RpcError", "_InactiveRpcError")
"""Classes of errors that say that a server does not answer."""
_REFUSED = re.compile(r"denied|authentication|no password|unknown database|does not exist", re.IGNORECASE)
"""What a server that answers says of a user, a password or a database: no waiting changes it."""
T = TypeVar("T")


@dataclass(frozen=True)
class Home:
    """Where studies live.

    Attributes:
        runs: folder of what is kept beside the storage: per-sample results, figures, the record for MLflow.
        url: of the Optuna storage; may hold a password.
    """

    runs: Path
    url: str

    @classmethod
    def of(cls, runs: str | Path, storage: str | None = None) -> Home:
        """The storage that is asked for, that of the environment's `AUTOTC_STORAGE`, or a database in the folder.

        Args:
            runs: folder.
            storage: URL, as given.

        Raises:
            SearchError: Optuna takes no such address.
        """
        name = "storage"
        if storage is None:
            storage, name = os.environ.get(VARIABLE, "").strip() or None, VARIABLE
        runs = Path(runs)
        return cls(runs, f"sqlite:///{runs / DATABASE}" if storage is None else _checked(storage, name))

    @property
    def shown(self) -> str:
        """The storage as it is told: a file by its path, an address without its password."""
        path = self.file
        return masked(self.url) if path is None else str(path)

    @property
    def file(self) -> Path | None:
        """File of the storage; None where a server keeps it."""
        for scheme in ("sqlite:///", "journal:///"):
            if self.url.startswith(scheme):
                path = self.url.removeprefix(scheme).split("?")[0]
                return Path(path if path.startswith("/") or scheme == "sqlite:///" else f"/{path}")
        return None

    @property
    def made(self) -> bool:
        """Whether the storage may hold anything."""
        return self.file is None or self.file.exists()

    def open(self) -> optuna.storages.BaseStorage:
        """Open the storage; it is made where there is none.

        Raises:
            SearchError: it cannot be reached, is damaged, locked, or of another Optuna.
            MissingDependencyError: Optuna or the database's driver is not installed.
        """
        package = import_optuna()
        if self.url.startswith("sqlite:///") and self.file is not None:
            _look_at(self.file)
        with self.errors():
            # Opened once: opening checks the schema, which takes a while.
            storage: optuna.storages.BaseStorage = self.patiently(
                lambda: package.storages.get_storage(_opened(package, self))
            )
        return storage

    def patiently(self, action: Callable[[], T]) -> T:
        """Do something with the storage, again for a minute while a server does not answer.

        Args:
            action: what may be done twice.
        """
        for wait in _WAITS if self.file is None else ():
            try:
                return action()
            except Exception as error:
                lost = any(kind.__name__ in _LOST for kind in type(error).__mro__)
                if not lost or _REFUSED.search(f"{error} {error.__cause__}"):
                    raise
                time.sleep(wait)
        return action()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of Optuna and its storage in the block become one line, without a password.

        Raises:
            SearchError: in their place; what is stored already stays.
            MissingDependencyError: the database's driver is not installed.
        """
        try:
            yield
        except RuntimeError as error:
            if "version" not in str(error) or isinstance(error, RecursionError):
                raise
            raise SearchError(
                f"{self.shown}: was written by another version of Optuna ({one_line(error, 100)});"
                " install that one, or give another --runs"
            ) from error
        except ImportError as error:
            driver = _SQL.get(urlsplit(self.url).scheme.split("+")[0]) or "grpcio"
            raise MissingDependencyError(
                f"{driver}: not installed; pip install 'autotc[distributed]' brings it"
            ) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("optuna", "sqlalchemy", "grpc"):
                raise
            raise SearchError(self._told(error)) from error

    def _told(self, error: Exception) -> str:
        cause = error.__cause__ or error
        reason = masked(one_line(getattr(cause, "orig", None) or cause, 400).replace(self.url, self.shown))
        remedy = "make room" if "full" in reason else "close what else uses it" if "locked" in reason else "look at it"
        return f"{self.shown}: cannot be used ({one_line(reason, 100)}); {remedy}, then go on with --resume"


def _checked(url: str, name: str) -> str:
    """An address that a storage can be opened at.

    Raises:
        SearchError: it is none.
    """
    shown = quote(masked(url), 120)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SearchError(f"{name}: {shown} given; its port is no number; {_RIGHT}") from error
    kind, _, driver = parts.scheme.partition("+")
    if kind in _SQL:
        if kind != "sqlite" and not parts.hostname and "host=" not in parts.query:
            raise SearchError(f"{name}: {shown} given; it names no host; {_RIGHT}")
        if kind == "sqlite" and not re.match(r"sqlite(\+\w+)?:///.", url):
            raise SearchError(f"{name}: {shown} given; it names no file; {_RIGHT}")
        wanted = _SQL[kind]
        return url if driver or wanted is None else url.replace(f"{kind}:", f"{kind}+{wanted}:", 1)
    if kind == "journal" and len(parts.path) > 1 and not parts.hostname:
        return url
    if kind == "grpc" and parts.hostname and port:
        return url
    raise SearchError(f"{name}: {shown} given; {_RIGHT}")


def _opened(package: Any, home: Home) -> Any:
    """A storage as Optuna opens it."""
    storages = package.storages
    parts = urlsplit(home.url)
    if parts.scheme == "grpc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is marked experimental
            return storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)
    if home.file is not None:
        _make_folder(home.file.parent)
    if parts.scheme == "journal":
        backend = storages.journal.JournalFileBackend(str(home.file))
        return storages.JournalStorage(backend)
    from autotc.search.database import Database

    if parts.scheme.startswith("sqlite"):
        # Workers write one after the other.
        return Database(home.url, engine_kwargs={"connect_args": {"timeout": _PATIENCE}})
    # A connection is tried before it is used: the server may have been restarted since.
    return Database(home.url, engine_kwargs={"pool_pre_ping": True})


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"{folder}: cannot be written ({error.strerror}); give another --runs") from error


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
    # A signal may end what its pool does with a connection, which it then logs with the whole stack; what matters of a
    # connection is raised where it is used.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    return optuna
