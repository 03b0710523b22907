"""Policies in MLflow's model registry: found by name and alias or version, or by the run that found them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotc.errors import AutotcError, PolicyError, one_line
from autotc.tracking.address import Address, resolve
from autotc.tracking.store import POLICY_FILE, POLICY_FOLDER, MlflowStore

_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_RUN = re.compile(r"runs:/(?P<run>[0-9a-f]+)")
_RIGHT = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID is right"


def local_policy(policy: str | Path, root: str | Path = "runs") -> Path:
    """The file of a policy: a path as it is, or what MLflow keeps under a name, with its samples files beside it.

    What was fetched once is kept for each version, which never changes; an alias is asked for anew each time.

    Args:
        policy: path, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or ``runs:/ID`` of a study's parent run.
        root: folder of the local store, where no server is named.

    Raises:
        PolicyError: MLflow has no such name, alias, version or run, it holds no policy, or does not answer.
        MissingDependencyError: mlflow is not installed.
    """
    text = str(policy)
    if not text.startswith(("models:", "runs:")):
        return Path(policy)
    model, run = _MODEL.fullmatch(text), _RUN.fullmatch(text)
    if model is None and run is None:
        raise PolicyError(f"{one_line(text, 120)}: is no policy of MLflow; {_RIGHT}")
    address = resolve(None, root)
    with told(address, text):
        store = MlflowStore(address)
        if run is not None:
            source = f"runs-{run['run']}", run["run"]
        else:
            assert model is not None
            version = model["version"] or store.version_of(model["name"], model["alias"])
            source = f"{model['name']}-{version}", store.run_of(model["name"], version)
        folder = _cache() / hashlib.sha256(address.uri.encode()).hexdigest()[:12] / source[0]
        if not (folder / POLICY_FILE).is_file():
            _fetch(store, source[1], folder, text)
    return folder / POLICY_FILE


@contextmanager
def told(address: Address, what: str) -> Iterator[None]:
    """Failures of MLflow as one line, with what was asked for.

    Raises:
        PolicyError: in place of whatever MLflow raises.
    """
    try:
        yield
    except AutotcError:
        raise
    except Exception as error:
        reason = one_line(address.without_secrets(error), 160)
        raise PolicyError(f"{one_line(what, 120)}: MLflow at {address.shown} says: {reason}") from error


def _cache() -> Path:
    """Folder of policies that were fetched."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "autotc" / "policies"


def _fetch(store: MlflowStore, run_id: str, folder: Path, asked_for: str) -> None:
    """Bring a run's policy into a folder, whole or not at all.

    Raises:
        PolicyError: the run holds none.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as beside:
        found = store.download(run_id, POLICY_FOLDER, Path(beside))
        if found is None or not (found / POLICY_FILE).is_file():
            raise PolicyError(
                f"{one_line(asked_for, 120)}: the run holds no {POLICY_FOLDER}/{POLICY_FILE}; a run of autotc does"
            )
        if not folder.exists():
            shutil.move(found, folder)
