"""Per-sample results of a study: files in its folder, and, where machines share no folder, in an artifact store."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from autotc.errors import MissingDependencyError, one_line, quote
from autotc.files import replacing
from autotc.results import Results
from autotc.search.errors import SearchError
from autotc.search.home import import_optuna

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

_RIGHT = "s3://BUCKET/PREFIX or a folder is right"


class Samples:
    """Keeps results under the paths of files in a runs folder.

    Args:
        runs: the folder.
        artifacts: ``s3://BUCKET/PREFIX``, or a folder that all machines see; None where the runs folder is enough.
    """

    def __init__(self, runs: Path, artifacts: str | None = None) -> None:
        self._runs, self._artifacts = runs, artifacts
        self._store: ArtifactStore | None = None

    def save(self, results: Results, path: Path) -> None:
        """Keep results; they are whole, and can be read by other machines, on return.

        Raises:
            SearchError: the artifact store cannot be written.
            OSError: the file cannot be written.
        """
        results.save(path)
        self._upload(path)

    def _upload(self, path: Path) -> None:
        if self._artifacts is None:
            return
        store = self._opened()
        with open(path, "rb") as file:
            try:
                store.write(self._key(path), file)
            except Exception as error:
                raise self._unusable(error) from error

    def copy(self, there: Path, here: Path) -> None:
        """Keep results of another study under a path of this one's.

        Raises:
            SearchError: the artifact store cannot be written.
            OSError: the file cannot be written.
        """
        here.parent.mkdir(parents=True, exist_ok=True)
        with replacing(here) as beside:
            shutil.copyfile(there, beside)
        self._upload(here)

    def find(self, path: Path) -> bool:
        """Whether results are kept; they are brought to the path from the artifact store.

        Raises:
            SearchError: the artifact store cannot be read.
        """
        if path.exists() or self._artifacts is None:
            return path.exists()
        missing = import_optuna().artifacts.exceptions.ArtifactNotFound
        try:
            with self._opened().open_reader(self._key(path)) as reader:
                data = reader.read()
        except (missing, FileNotFoundError):
            return False
        except Exception as error:
            raise self._unusable(error) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            Path(beside).write_bytes(data)
        return True

    def _key(self, path: Path) -> str:
        """Name in the artifact store: flat, since a folder of Optuna's makes none below itself."""
        name = "~".join(path.relative_to(self._runs).parts)
        prefix = urlsplit(self._artifacts or "").path.strip("/") if (self._artifacts or "").startswith("s3:") else ""
        return f"{prefix}/{name}" if prefix else name

    def _opened(self) -> ArtifactStore:
        if self._store is None:
            assert self._artifacts is not None  # asked before
            self._store = open_artifacts(self._artifacts)
        return self._store

    def _unusable(self, error: Exception) -> SearchError:
        return SearchError(
            f"artifacts: {self._artifacts} cannot be used ({one_line(error, 120)}); what is done is kept"
        )


def open_artifacts(url: str) -> ArtifactStore:
    """An artifact store of Optuna's at an address.

    Args:
        url: ``s3://BUCKET/PREFIX`` (server and keys as boto3 finds them, e.g. `AWS_ENDPOINT_URL`), or a folder.

    Raises:
        SearchError: it is no such address, or the folder cannot be made.
        MissingDependencyError: boto3 is not installed.
    """
    artifacts = import_optuna().artifacts
    parts = urlsplit(url)
    if parts.scheme == "s3":
        if not parts.hostname:
            raise SearchError(f"artifacts: {quote(url)} given; it names no bucket; {_RIGHT}")
        try:
            store: ArtifactStore = artifacts.Boto3ArtifactStore(parts.hostname)
        except ImportError as error:
            raise MissingDependencyError("boto3: not installed; pip install 'autotc[distributed]' brings it") from error
        return store
    if parts.scheme not in ("", "file"):
        raise SearchError(f"artifacts: {quote(url)} given; {_RIGHT}")
    folder = Path(parts.path if parts.scheme == "file" else url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"artifacts: {folder}: cannot be written ({error.strerror}); give another folder") from error
    local: ArtifactStore = _Folder(folder)
    return local


class _Folder:
    """As Optuna's `FileSystemArtifactStore`, but a file is there whole or not at all: readers are on other machines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plain = import_optuna().artifacts.FileSystemArtifactStore(folder)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        reader: BinaryIO = self._plain.open_reader(artifact_id)
        return reader

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        beside = f".{artifact_id}.{uuid.uuid4().hex[:8]}"
        self._plain.write(beside, content_body)
        os.replace(self._folder / beside, self._folder / artifact_id)

    def remove(self, artifact_id: str) -> None:
        self._plain.remove(artifact_id)
