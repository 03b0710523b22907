"""Studies in PostgreSQL, MariaDB, behind Optuna's proxy, and with samples in a bucket: real servers, started here."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotc import cli
from autotc.search.errors import SearchError
from autotc.search.home import Home
from autotc.search.session import search
from autotc.search.storage import load_study

from .fleet import STUDY, help_, lead, lines, options, start
from .synthetic import SyntheticEvaluator

PASSWORD = "a-secret-of-the-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A PostgreSQL server in a folder of its own; it does not run as root."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        on_path = shutil.which("pg_ctl")
        if not found and on_path is None:
            pytest.skip("PostgreSQL is not installed")
        self._bin = found[-1].parent if found else Path(str(on_path)).parent
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self._folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if self._as:
            user = pwd.getpwnam("postgres").pw_uid
            os.chown(folder, user, -1)
            os.chown(secret, user, -1)
        self._call("initdb", "-D", str(folder / "data"), "-A", "md5", "-U", "autotc", f"--pwfile={secret}")
        self.start()

    def _call(self, program: str, *words: str) -> None:
        subprocess.run(
            [*self._as, str(self._bin / program), *words], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._call("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    @property
    def url(self) -> str:
        return f"postgresql://autotc:{PASSWORD}@127.0.0.1:{self.port}/postgres"


class Maria:
    """A MariaDB server, which MySQL's clients talk to, in a folder of its own; it does not run as root."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("mariadbd") is None:
            pytest.skip("MariaDB is not installed")
        self._folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        user = ["--user=mysql"] if os.getuid() == 0 else []
        if user:
            os.chown(folder, pwd.getpwnam("mysql").pw_uid, -1)
        made = ["mariadb-install-db", f"--datadir={folder}", *user, "--auth-root-authentication-method=normal"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        socket_file = folder / "socket"
        words = ["mariadbd", f"--datadir={folder}", *user, f"--port={self.port}", f"--socket={socket_file}"]
        self._server = subprocess.Popen(
            [*words, "--bind-address=127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: answers(self.port))
        hosts = ", ".join(f"autotc@'{host}' identified by '{PASSWORD}'" for host in ("127.0.0.1", "localhost"))
        setup = f"create database studies; grant all on studies.* to {hosts}"
        subprocess.run(["mariadb", f"--socket={socket_file}", "-u", "root", "-e", setup], check=True, timeout=60)

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait(60)

    @property
    def url(self) -> str:
        return f"mysql://autotc:{PASSWORD}@127.0.0.1:{self.port}/studies"


@pytest.fixture
def maria() -> Iterator[Maria]:
    folder = Path("/tmp") / f"autotc-maria-{os.getpid()}"
    server = Maria(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = Path("/tmp") / f"autotc-postgres-{os.getpid()}"  # pytest's folders are closed to other users
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


def told(root: Path) -> str:
    """Everything that a search wrote into its folders."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return "\n".join(path.read_bytes().decode("utf-8", errors="replace") for path in files)


@pytest.mark.full
def test_workers_on_postgres_and_a_restart_in_the_middle(postgres: Postgres, tmp_path: Path) -> None:
    more = {"storage": postgres.url}
    processes = [start(target, tmp_path, *words, 0.2, more) for target, words in ((lead, (16,)), (help_, ()))]
    log = tmp_path / "log"
    until = time.monotonic() + 90
    while not log.exists() or len(log.read_text().splitlines()) < 12:
        assert time.monotonic() < until
        time.sleep(0.1)
    postgres.stop()
    time.sleep(2)
    postgres.start()
    for process in processes:
        process.join(150)
        assert process.exitcode == 0
    assert [line for line, times in Counter(lines(tmp_path)).items() if times > 1] == []
    study = load_study(STUDY, Home.of(tmp_path / "runs", postgres.url))
    stored = [trial.user_attrs["record"] for trial in study.stored.trials if "record" in trial.user_attrs]
    assert sum(bool(record.get("ran")) for record in stored if "accuracy" in record and "raced" not in record) == 16
    assert PASSWORD not in told(tmp_path)


def test_the_password_is_nowhere_in_what_a_search_says(postgres: Postgres, tmp_path: Path) -> None:
    here = {**options(tmp_path), "storage": postgres.url, "name": "said", "trials": 2}
    result = search(SyntheticEvaluator(samples=40), **here)
    assert PASSWORD not in str(result.to_json())
    assert f"autotc:***@127.0.0.1:{postgres.port}" in result.storage
    with pytest.raises(SearchError) as caught:
        search(SyntheticEvaluator(samples=40), **{**here, "space": None}, study_name="none", resume=True)
    assert PASSWORD not in str(caught.value)


@pytest.mark.full
def test_workers_on_maria(maria: Maria, tmp_path: Path) -> None:
    more = {"storage": maria.url}
    processes = [start(target, tmp_path, *words, 0.1, more) for target, words in ((lead, (6,)), (help_, ()))]
    for process in processes:
        process.join(150)
        assert process.exitcode == 0
    study = load_study(STUDY, Home.of(tmp_path / "runs", maria.url))
    assert sum(bool(stored.ran) and stored.refused is None for _, stored in study.trials()) >= 6
    assert PASSWORD not in told(tmp_path)


@pytest.mark.parametrize("kind", ["postgres", "maria"])
def test_a_wrong_password_is_told_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue(kind).url.replace(PASSWORD, "wrong-secret")
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(SearchError, match="cannot be used") as caught:
        search(SyntheticEvaluator(samples=40), **options(tmp_path), storage=url)
    monkeypatch.undo()
    assert waited == []
    assert "wrong-secret" not in str(caught.value)


def test_behind_the_proxy_of_optuna(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    port = free_port()
    script = (
        "import optuna, sys; optuna.storages.run_grpc_proxy_server("
        "optuna.storages.RDBStorage('sqlite:///' + sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    server = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "proxy.db"), str(port)])
    try:
        wait_for(lambda: answers(port))
        plain = search(SyntheticEvaluator(samples=40), **options(tmp_path), trials=4)
        proxied = search(
            SyntheticEvaluator(samples=40), **options(tmp_path), trials=4, storage=f"grpc://127.0.0.1:{port}"
        )
        assert proxied.front == plain.front
    finally:
        server.terminate()
        server.wait(20)


def test_samples_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="autotc")
        places = {"storage": f"sqlite:///{tmp_path / 'shared.db'}", "trials": 4}
        first = search(SyntheticEvaluator(samples=40), **options(tmp_path), **places, artifacts="s3://autotc/a/b")
        keys = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="autotc")["Contents"]]
        assert all(key.startswith(f"a/b/{first.study}~") for key in keys)
        there = {**options(tmp_path), "runs": tmp_path / "elsewhere", "space": None}
        evaluator = SyntheticEvaluator(samples=40)
        again = search(evaluator, **there, storage=places["storage"], study_name=first.study, resume=True)
        assert [(row.trial, row.label, row.accuracy) for row in again.front] == [
            (row.trial, row.label, row.accuracy) for row in first.front
        ]
        assert evaluator.ran == []
        with pytest.raises(SearchError, match=r"artifacts: s3://none cannot be used \(.*NoSuchBucket"):
            search(SyntheticEvaluator(samples=40), **options(tmp_path), **places, artifacts="s3://none")
    finally:
        server.stop()


@pytest.mark.full
def test_workers_on_a_cluster_of_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the embedded model, since a worker is started by its command."""
    pytest.importorskip("ray")
    places = ["--runs", tmp_path / "runs", "--out-dir", tmp_path / "policies"]
    words = ["search", "--ray", "--workers", 1, "--gpus-per-worker", 0, "--trials", 100, "--limit", 40, *places]
    assert cli.main([str(word) for word in words]) == 0
    assert "<- exported" in capsys.readouterr().out
    study = load_study("tiny-omni-b0.4-s0", Home.of(tmp_path / "runs"))
    workers = {trial.user_attrs["lease"]["name"] for trial in study.stored.trials if "lease" in trial.user_attrs}
    assert len(workers) == 2
    records = [trial.user_attrs["record"] for trial in study.stored.trials if "record" in trial.user_attrs]
    hashes = [record["hash"] for record in records if record.get("ran")]
    assert len(hashes) == len(set(hashes))


@pytest.mark.full
def test_a_search_outlives_the_head_of_its_cluster(tmp_path: Path) -> None:
    """The head is killed in the middle; what is done is kept, nothing runs twice, and the search comes to its end."""
    pytest.importorskip("ray")
    words = ["search", "--ray", "--workers", "1", "--gpus-per-worker", "0", "--trials", "60", "--limit", "20"]
    words += ["--runs", str(tmp_path / "runs"), "--out-dir", str(tmp_path / "policies")]
    with open(tmp_path / "said", "w", encoding="utf-8") as said:
        process = subprocess.Popen([sys.executable, "-m", "autotc", *words], stdout=said, stderr=said, cwd=tmp_path)
    home = Home.of(tmp_path / "runs")

    def ran() -> dict[int, str]:
        """Trials that have run so far, by number."""
        with suppress(SearchError):
            study = load_study("tiny-omni-b0.4-s0", home)
            return {trial.number: record.hash for trial, record in study.trials() if record.forwards}
        return {}

    wait_for(lambda: len(ran()) >= 10, 200)
    kept = ran()
    heads = [
        child for child in psutil.Process(process.pid).children(recursive=True) if "gcs_server" in child.cmdline()[0]
    ]
    assert len(heads) == 1
    heads[0].kill()
    assert process.wait(300) == 0, (tmp_path / "said").read_text()
    text = (tmp_path / "said").read_text()
    assert "<- exported" in text
    after = ran()
    assert kept.items() <= after.items()
    assert len(set(after.values())) == len(after)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(check: Callable[[], Any], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.1)
