"""MLflow that is down, dies, is damaged, moved or wrongly addressed: the work goes on, nothing is lost or doubled."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import load_text
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from autotc.errors import DataError
from autotc.policy import Policy
from autotc.tracking import Tracker, masked, resolve
from autotc.tracking.events import TrialEvent
from autotc.tracking.spool import Spool
from autotc.tracking.store import EXPERIMENT, MlflowStore
from autotc.tracking.tracker import SPOOL, sync_spool

POLICY = Policy.model_validate(
    {"stages": [{"modality": "image", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.5}]}
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with an empty store; making one takes seconds."""
    root = tmp_path_factory.mktemp("template")
    MlflowStore(resolve(None, root))
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copytree(template, tmp_path / "runs"))


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def logged(root: Path) -> list[Run]:
    """Runs of the local store, oldest first."""
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments() if e.name.startswith(EXPERIMENT)]
    return sorted(client.search_runs(experiments), key=lambda run: int(run.info.start_time))


def trials(root: Path) -> list[str]:
    return sorted(run.info.run_name for run in logged(root) if "mlflow.parentRunId" in run.data.tags)


def test_a_server_that_is_down_keeps_the_record_for_later(root: Path, closed_port: int) -> None:
    said: list[str] = []
    uri = f"http://user:secret@127.0.0.1:{closed_port}"
    with Tracker("study", root=root, uri=uri, params={"seed": 0}, tell=said.append) as tracker:
        for number in range(3):
            tracker.trial(number, POLICY, metrics={"accuracy": 0.5 + number / 10})
            tracker.curve("hypervolume", number / 10, number)
        tracker.finish(metrics={"trials": 3.0}, front=[{"trial": 1}])
    assert len(said) == 1
    assert "autotc study sync study" in said[0]
    assert "secret" not in said[0] + tracker.uri
    spool = root / "study" / SPOOL
    assert "secret" not in spool.read_text()
    with pytest.raises(DataError, match="needs its password"):
        sync_spool(spool, root)
    run_id, count = sync_spool(spool, root, f"sqlite:///{root / 'mlflow.db'}")
    assert count == 6
    assert trials(root) == ["trial-0", "trial-1", "trial-2"]
    parent = next(run for run in logged(root) if run.info.run_id == run_id)
    assert (parent.info.status, parent.data.params["seed"], parent.data.metrics["trials"]) == ("FINISHED", "0", 3.0)
    assert not spool.exists()
    with pytest.raises(DataError, match="nothing is kept there"):
        sync_spool(spool, root)


def test_a_search_is_synced_by_its_name(root: Path, closed_port: int) -> None:
    from autotc.search.home import Home
    from autotc.search.session import search
    from autotc.search.storage import load_study
    from autotc.search.sync import sync
    from tests.search.synthetic import SyntheticEvaluator

    result = search(
        SyntheticEvaluator(samples=20),
        trials=3,
        runs=root,
        out_dir=root / "policies",
        tracking_uri=f"http://127.0.0.1:{closed_port}",
    )
    assert load_study(result.study, Home.of(root)).mlflow_run is None
    count = sync(result.study, runs=root, tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    assert count > 3
    parent = next(run for run in logged(root) if run.info.run_id == load_study(result.study, Home.of(root)).mlflow_run)
    assert parent.data.metrics["test/accuracy"] == pytest.approx(next(r.accuracy for r in result.front if r.chosen))
    with pytest.raises(DataError, match="nothing is kept there"):
        sync(result.study, runs=root)


def test_a_store_that_dies_in_the_middle_logs_nothing_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log_text = MlflowClient.log_text

    def dies(self: MlflowClient, run_id: str, text: str, path: str) -> None:
        if len(trials(root)) >= 2:
            raise OSError("no route to host")
        log_text(self, run_id, text, path)

    monkeypatch.setattr(MlflowClient, "log_text", dies)
    with Tracker("study", root=root, tell=said.append) as tracker:
        for number in range(4):
            tracker.trial(number, POLICY, metrics={"accuracy": 0.5})
            tracker.curve("hypervolume", number / 10, number)
    assert len(said) == 1
    assert "no route to host" in said[0]
    assert trials(root) == ["trial-0", "trial-1"]  # the second in part
    monkeypatch.undo()
    with Tracker("study", root=root, run_id=tracker.run_id, tell=said.append) as again:
        again.trial(4, POLICY)
    assert len(said) == 1
    assert trials(root) == [f"trial-{number}" for number in range(5)]
    assert {run.info.status for run in logged(root)} == {"FINISHED"}
    client = MlflowClient(again.uri)
    assert len(client.get_metric_history(str(tracker.run_id), "hypervolume")) == 4
    second = next(run for run in logged(root) if run.info.run_name == "trial-1")
    assert len(client.get_metric_history(second.info.run_id, "accuracy")) == 1
    assert not (root / "study" / SPOOL).exists()


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / SPOOL)
    with Tracker("study", root=tmp_path, uri="http://127.0.0.1:9", tell=lambda _: None) as tracker:
        tracker.trial(0, POLICY)
    path = tmp_path / "study" / SPOOL
    spool = Spool(path)
    path.write_text(path.read_text() + '{"kind": "trial", "number": 1, "pol')
    _, events = spool.read()
    assert [type(event).__name__ for event in events] == ["TrialEvent", "EndEvent"]
    assert isinstance(events[0], TrialEvent)


def test_a_damaged_database_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 1000)
    said: list[str] = []
    with Tracker("study", root=tmp_path, tell=said.append) as tracker:
        tracker.trial(0, POLICY)
    assert len(said) == 1
    assert "file is not a database" in said[0]
    assert Spool(tmp_path / "study" / SPOOL)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "'' given; MLflow keeps no runs in plain folders"),
        ("./mlruns", "'./mlruns' given; MLflow keeps no runs in plain folders"),
        ("file:///tmp/mlruns", "keeps no runs in plain folders"),
        ("ftp://host/x", "MLflow knows no scheme 'ftp'"),
        ("http://host:port", "a port that is none"),
        ("http://host:99999", "a port that is none"),
        ("https://", "it has no host"),
        ("http://me:secret@host:x", "me:***@host"),
    ],
)
def test_wrong_addresses_are_told_in_one_line(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        resolve(uri, tmp_path)
    assert said in str(caught.value)
    assert "http(s)://HOST:PORT" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_names_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert resolve(None, tmp_path).uri == "http://host:5000"
    assert resolve("http://other:1", tmp_path).uri == "http://other:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://host")
    with pytest.raises(DataError, match="MLFLOW_TRACKING_URI: 'ftp://host' given"):
        resolve(None, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    assert resolve(None, tmp_path).uri.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:1/x", "http://me:***@host:1/x"),
        ("https://token@host", "https://***@host"),
        ("postgresql+psycopg2://u:p%40w@db/x?sslmode=on", "postgresql+psycopg2://u:***@db/x?sslmode=on"),
        ("mysql://db/x?user=a&password=b", "mysql://db/x?user=a&password=***"),
        ("sqlite:////runs/mlflow.db", "sqlite:////runs/mlflow.db"),
    ],
)
def test_addresses_are_shown_without_passwords(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_deleted_experiment_stays_deleted_and_another_is_made(root: Path) -> None:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    said: list[str] = []
    with Tracker("study", root=root, tell=said.append) as tracker:
        tracker.trial(0, POLICY)
    assert not said
    assert trials(root) == ["trial-0"]
    assert client.get_experiment(client.get_run(str(tracker.run_id)).info.experiment_id).name == f"{EXPERIMENT}-2"


def test_the_table_of_a_resumed_study_is_replaced(root: Path) -> None:
    run_id = None
    for _ in range(2):
        with Tracker("study", root=root, run_id=run_id) as tracker:
            tracker.finish(metrics={}, front=[{"trial": 1, "accuracy": 0.5}, {"trial": 2, "other": 1}])
        run_id = tracker.run_id
    parent = next(run for run in logged(root) if run.info.run_id == run_id)
    table = json.loads(load_text(f"{parent.info.artifact_uri}/front.json"))
    assert table == {"columns": ["trial", "accuracy", "other"], "data": [[1, 0.5, None], [2, None, 1]]}
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "front.json", "type": "table"}]


def test_what_a_kill_left_running_is_ended(root: Path) -> None:
    with Tracker("study", root=root) as tracker:
        tracker.trial(0, POLICY)
    client = MlflowClient(tracker.uri)
    client.update_run(next(run.info.run_id for run in logged(root) if run.info.run_name == "trial-0"), "RUNNING")
    client.update_run(str(tracker.run_id), "RUNNING")
    with Tracker("study", root=root, run_id=tracker.run_id):
        assert {run.info.run_name: run.info.status for run in logged(root)} == {"study": "RUNNING", "trial-0": "KILLED"}


@pytest.mark.parametrize("kept", [True, False])
def test_a_copied_or_moved_folder_has_its_artefacts_beside_it(root: Path, tmp_path: Path, kept: bool) -> None:
    with Tracker("study", root=root) as tracker:
        tracker.trial(0, POLICY)
    copy = Path(shutil.copytree(root, tmp_path / "copy")) if kept else Path(shutil.move(root, tmp_path / "copy"))
    before = sorted(root.rglob("*"))
    with Tracker("study", root=copy, run_id=tracker.run_id) as again:
        assert again.run_id == tracker.run_id
        again.trial(1, POLICY)
    runs: dict[str, Any] = {run.info.run_name: run for run in logged(copy)}
    for name in ("trial-0", "trial-1"):
        assert str(copy.resolve()) in runs[name].info.artifact_uri
        assert Policy.from_yaml(load_text(f"{runs[name].info.artifact_uri}/policy.yaml")) == POLICY
    assert sorted(root.rglob("*")) == before
