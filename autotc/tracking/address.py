"""Where runs are logged: addresses that MLflow takes, shown without their passwords, and whether anybody answers."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from autotc.errors import DataError, quote

VARIABLE = "MLFLOW_TRACKING_URI"
_SERVERS = {"http": 80, "https": 443}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_OTHERS = ("databricks", "databricks-uc", "uc")
_SECONDS = 5.0
"""That an address has to answer in."""


@dataclass(frozen=True)
class Address:
    """Where runs are logged.

    Attributes:
        uri: as MLflow takes it; may hold a password.
        artefacts: URI of the folder of a new local store's artefacts; None where a server decides.
    """

    uri: str
    artefacts: str | None = None

    @property
    def shown(self) -> str:
        """The address without its password."""
        return masked(self.uri)

    def without_secrets(self, error: BaseException) -> str:
        """An error's first line, in which the address has no password."""
        text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return masked(text.replace(self.uri, self.shown))

    def probe(self) -> None:
        """Look whether anybody answers, before MLflow tries for minutes.

        Raises:
            OSError: a server does not answer.
            sqlite3.Error: a database file is damaged or locked.
        """
        parts = urlsplit(self.uri)
        if parts.scheme in _SERVERS:
            with socket.create_connection((parts.hostname or "", parts.port or _SERVERS[parts.scheme]), _SECONDS):
                return
        path = self.database
        if path is not None and path.exists():
            with closing(sqlite3.connect(path, timeout=_SECONDS)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()

    @property
    def database(self) -> Path | None:
        """File of an SQLite store."""
        if not self.uri.startswith("sqlite:///"):
            return None
        return Path(unquote(self.uri.removeprefix("sqlite:///").split("?")[0]))


def resolve(uri: str | None, root: str | Path) -> Address:
    """The address to log to.

    Args:
        uri: as given; None takes the environment's `MLFLOW_TRACKING_URI`, or else a database in ``root``.
        root: folder of the local store.

    Raises:
        DataError: MLflow takes no such address.
    """
    name = "tracking_uri"
    if uri is None:
        uri, name = os.environ.get(VARIABLE, "").strip() or None, VARIABLE
    if uri is None:
        root = Path(root).resolve()
        return Address(f"sqlite:///{root / 'mlflow.db'}", (root / "mlartifacts").as_uri())
    right = "http(s)://HOST:PORT of a server, or sqlite:///FILE of a database, is right"
    shown = quote(masked(uri), 120)
    try:
        parts = urlsplit(uri)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_number = False
        parts = urlsplit("")
    kind = parts.scheme.split("+")[0]
    if kind in ("", "file") and port_is_number:
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1") and uri:
            return Address(uri)
        raise DataError(f"{name}: {shown} given; MLflow keeps no runs in plain folders any more; {right}")
    if not port_is_number or (kind in _SERVERS and not parts.hostname):
        raise DataError(f"{name}: {shown} given; it has no host, or a port that is none; {right}")
    if kind not in (*_SERVERS, *_DATABASES, *_OTHERS):
        raise DataError(f"{name}: {shown} given; MLflow knows no scheme {quote(kind)}; {right}")
    return Address(uri)


def masked(text: str) -> str:
    """A text in which addresses have no passwords and no tokens."""
    text = re.sub(r"(//[^/@\s:]*):[^@\s/]+@", r"\1:***@", text)
    text = re.sub(r"//[^/@\s:]+@", "//***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token|secret|access_key)=[^&\s'\"]+", r"\1=***", text)
