"""Comparisons and conflicts whose MLflow is absent, down or misaddressed: they go on, and say so once."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotc.compare.candidates import Candidate
from autotc.compare.record import log as log_comparison
from autotc.compare.settings import CompareSettings
from autotc.errors import MissingDependencyError
from autotc.interactions.record import log as log_conflicts
from autotc.interactions.settings import ConflictsSettings
from autotc.policy import Policy
from autotc.tracking.tracker import SPOOL

from ..records.test_shown import comparison, conflicts
from ..test_check import Told


def compared(root: Path, uri: str | None = None) -> None:
    row = comparison().rows[0]
    candidate = Candidate(row.preset, row.place, row.match, row.target, "image", row.keep, row.met, Policy())
    log_comparison(
        Told(),  # type: ignore[arg-type]
        CompareSettings(runs=root, tracking_uri=uri),
        [candidate],
        comparison(),
    )


def stacked(root: Path, uri: str | None = None) -> None:
    log_conflicts(
        Told(),  # type: ignore[arg-type]
        ConflictsSettings(runs=root, tracking_uri=uri),
        conflicts(),
    )


@pytest.mark.parametrize("work", [compared, stacked])
def test_without_mlflow(
    work: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*args: Any, **kwargs: Any) -> Any:
        raise MissingDependencyError("mlflow is not installed; pip install 'autotc[search]'")

    monkeypatch.setattr(importlib.import_module("autotc.tracking.optional"), "Tracker", missing)
    work(tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "nothing is logged to MLflow: mlflow is not installed; pip install 'autotc[search]'\n"


@pytest.mark.parametrize(("work", "name"), [(compared, "compare"), (stacked, "conflicts-x")])
def test_a_server_that_is_down(
    work: Callable[..., None], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    work(tmp_path, f"http://user:secret@127.0.0.1:{port}")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "secret" not in err
    assert (tmp_path / name / SPOOL).exists()
