"""Several workers on one study: each part runs once, and what a worker does not finish another does."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotc.policy import Policy
from autotc.search.deaths import WORK
from autotc.search.errors import SearchError
from autotc.search.home import Home
from autotc.search.leases import BEAT, DIED, GIVEN_BACK, LOST, Leases, Worker
from autotc.search.session import search, worker
from autotc.search.storage import load_front, load_study

from .fleet import STUDY, Logged, help_, lead, lines, options, start
from .synthetic import SyntheticEvaluator


def wait_for(check: Any, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


def trials_of(root: Path) -> list[optuna.trial.FrozenTrial]:
    return load_study(STUDY, Home.of(root / "runs")).stored.trials


def counted(root: Path) -> int:
    stored = [trial.user_attrs.get("record", {}) for trial in trials_of(root) if trial.state.name == "COMPLETE"]
    return sum(bool(record.get("ran")) for record in stored)


def test_no_part_runs_twice(tmp_path: Path) -> None:
    processes = [start(lead, tmp_path, 24, 0.15), *(start(help_, tmp_path, 0.15) for _ in range(2))]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    ran = lines(tmp_path)
    assert [line for line, times in Counter(ran).items() if times > 1] == []
    pids = {line.partition("@")[0] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(pids) >= 2
    assert counted(tmp_path) == 24
    assert {trial.state.name for trial in trials_of(tmp_path)} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert (tmp_path / "policies" / "m-0.5.yaml").exists()
    again = search(
        SyntheticEvaluator(samples=40), **{**options(tmp_path), "space": None}, study_name=STUDY, resume=True
    )
    assert [row.trial for row in again.front]


def test_a_worker_that_is_killed_gives_its_trial_to_another(tmp_path: Path) -> None:
    helper = start(help_, tmp_path, 0.3)
    leader = start(lead, tmp_path, 14, 0.05)
    wait_for(lambda: (tmp_path / "log").exists() and str(helper.pid) in (tmp_path / "log").read_text())
    time.sleep(0.15)
    os.kill(helper.pid or 0, signal.SIGKILL)
    leader.join(120)
    assert leader.exitcode == 0
    lost = [trial for trial in trials_of(tmp_path) if trial.user_attrs.get(LOST) == DIED]
    assert len(lost) <= 1
    ran = {
        trial.user_attrs[WORK]
        for trial in trials_of(tmp_path)
        if trial.user_attrs.get("record", {}).get("hash") and WORK in trial.user_attrs
    }
    assert {trial.user_attrs[WORK] for trial in lost} <= ran
    assert counted(tmp_path) == 14


def test_workers_go_on_without_the_search_that_leads_them(tmp_path: Path) -> None:
    helper = start(help_, tmp_path, 0.05)
    leader = start(lead, tmp_path, 10, 0.1)
    wait_for(lambda: (tmp_path / "log").exists() and str(helper.pid) in (tmp_path / "log").read_text())
    os.kill(leader.pid or 0, signal.SIGKILL)
    leader.join(60)
    helper.join(90)
    assert helper.exitcode == 0
    assert counted(tmp_path) == 10
    before = load_front(STUDY, Home.of(tmp_path / "runs"))
    result = search(Logged(tmp_path / "log"), **{**options(tmp_path), "space": None}, study_name=STUDY, resume=True)
    assert result.trials == len(
        load_study(STUDY, Home.of(tmp_path / "runs")).stored.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    )
    assert load_front(STUDY, Home.of(tmp_path / "runs")) == before


# --- leases ---


@pytest.fixture
def two(tmp_path: Path) -> tuple[Leases, Leases, optuna.Study]:
    """Leases of two workers of one study; the first beats, the second waits half a second."""
    home = Home.of(tmp_path / "runs")
    study = optuna.create_study(storage=home.open())
    first = Leases(study, home, Worker.here(), every=0.05)
    return first, Leases(study, home, Worker.here(), grace=0.5), study


def trial() -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={WORK: Policy().to_yaml()})


def test_a_live_worker_is_never_robbed(two: tuple[Leases, Leases, optuna.Study]) -> None:
    first, second, study = two
    lease = first.take(trial(), lambda other: False)
    assert lease is not None
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert [other.number for other in second.others()] == [lease.number]
        time.sleep(0.1)
    assert study.trials[0].user_attrs[BEAT] > 5
    assert lease.finish("COMPLETE", [1.0])
    assert second.others() == []


def test_a_worker_that_is_silent_loses_its_lease(
    two: tuple[Leases, Leases, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, study = two
    lease = first.take(trial(), lambda other: False)
    assert lease is not None
    first.close()
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a clock that jumps tells nothing
    assert len(second.others()) == 1
    time.sleep(0.7)
    assert second.others() == []
    assert study.trials[0].user_attrs[LOST] == DIED
    assert not lease.finish("COMPLETE", [1.0])  # it comes back, and is told


def test_a_worker_behind_a_stalled_disk_is_not_robbed(
    two: tuple[Leases, Leases, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread of work hangs in a write; its beat has a thread and a connection of its own."""
    first, second, _ = two
    lease = first.take(trial(), lambda other: False)
    assert lease is not None
    monkeypatch.setattr(os, "fsync", lambda file: time.sleep(1.0))
    began = time.monotonic()
    with open(os.devnull, "w", encoding="utf-8") as file:
        os.fsync(file.fileno())
    assert time.monotonic() - began > 0.9
    assert len(second.others()) == 1


def test_of_two_that_take_the_same_the_first_has_it(two: tuple[Leases, Leases, optuna.Study]) -> None:
    first, second, study = two
    assert first.take(trial(), lambda other: True) is not None
    assert second.take(trial(), lambda other: True) is None
    assert second.take(trial(), lambda other: False) is not None
    assert [t.state.name for t in study.trials] == ["RUNNING", "FAIL", "RUNNING"]


def test_what_is_given_back_is_known_as_such(two: tuple[Leases, Leases, optuna.Study]) -> None:
    first, second, study = two
    lease = first.take(trial(), lambda other: False)
    assert lease is not None
    lease.give_back()
    assert second.others() == []
    assert study.trials[0].user_attrs[LOST] == GIVEN_BACK


# --- what is asked for ---


def test_a_sampler_that_waits_for_each_result_takes_no_help(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="workers: 2 given; gsearch proposes one policy after the other"):
        search(SyntheticEvaluator(), **{**options(tmp_path), "sampler": "gsearch", "workers": 2})
    with pytest.raises(SearchError, match="is not in"):
        worker("none", SyntheticEvaluator(), runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://u:secret@h/d", "is right"),
        ("postgresql://u:secret@:5432/d", "names no host"),
        ("postgresql://u:secret@h:port/d", "port is no number"),
        ("grpc://host", "is right"),
        ("journal://host/file", "is right"),
        ("sqlite:///", "names no file"),
        ("redis://:secret@h", "is right"),
        ("", "is right"),
    ],
)
def test_addresses_that_are_none_are_told_in_one_line(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(SearchError, match=said) as caught:
        search(SyntheticEvaluator(), **options(tmp_path), storage=url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_server_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(sys.modules[Home.__module__], "_WAITS", ())
    with pytest.raises(SearchError, match="cannot be used") as caught:
        search(SyntheticEvaluator(), **options(tmp_path), storage="postgresql://u:secret@127.0.0.1:9/d")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["journal", "sqlite"])
def test_a_study_in_another_storage_and_samples_in_a_folder_that_all_see(tmp_path: Path, scheme: str) -> None:
    slash = "" if scheme == "journal" else "/"
    places = {"storage": f"{scheme}:///{slash}{str(tmp_path / 'shared' / 'studies').lstrip('/')}"}
    here = {**options(tmp_path), **places, "artifacts": str(tmp_path / "samples")}
    first = search(SyntheticEvaluator(samples=40), **here, trials=6)
    # Another machine sees the storage and the samples, but not the folder.
    there = {**options(tmp_path), **places, "runs": tmp_path / "elsewhere", "space": None}
    evaluator = SyntheticEvaluator(samples=40)
    again = search(evaluator, **there, study_name=first.study, resume=True)
    assert again.front == first.front
    assert evaluator.ran == []
