"""Looking after stored studies: state, what is wrong, export, joining, deleting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from autotc import cli
from autotc.search.deaths import WORK
from autotc.search.errors import SearchError
from autotc.search.home import Home
from autotc.search.leases import DIED, LEASE, LOST, Leases, Worker
from autotc.search.locks import hold_study
from autotc.search.session import search
from autotc.search.storage import load_front, load_study, load_trials
from autotc.search.upkeep import delete, doctor, merge, state

from .fleet import STUDY, options
from .synthetic import SyntheticEvaluator


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("searched")
    search(SyntheticEvaluator(samples=40), **options(root), trials=5)
    return root


@pytest.fixture
def copy(searched: Path, tmp_path: Path) -> Home:
    shutil.copytree(searched / "runs", tmp_path / "runs")
    return Home.of(tmp_path / "runs")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_state_of_a_study(copy: Home, capsys: pytest.CaptureFixture[str]) -> None:
    found = state(STUDY, copy)
    assert (found.done, found.asked) == (5, 5)
    assert found.kinds["ran"] == 5
    assert found.front == len(load_front(STUDY, copy))
    assert found.policy is not None
    assert found.policy.endswith("m-0.5.yaml")
    code, out, _ = run(capsys, "study", "show", STUDY, "--runs", copy.runs, "--json")
    assert code == 0
    assert json.loads(out)["kinds"] == dict(found.kinds)


def gone_worker(study: str, home: Home, state_name: str, **attrs: str) -> None:
    """A trial that a worker of this machine has left behind."""
    worker = {**vars(Worker.here()), "pid": 2**22 + 1, "began": "1"}
    text = load_trials(study, home)[0].policy.to_yaml()
    stored = load_study(study, home).stored
    stored.add_trial(
        optuna.trial.create_trial(
            state=getattr(optuna.trial.TrialState, state_name), user_attrs={LEASE: worker, WORK: text, **attrs}
        )
    )


def test_a_doctor_finds_what_is_wrong_and_says_what_to_do(copy: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(STUDY, copy) == []
    gone_worker(STUDY, copy, "RUNNING")
    gone_worker(STUDY, copy, "FAIL", **{LOST: DIED})
    study = load_study(STUDY, copy)
    study.note("versions", {"torch": "1.0"})
    first, *_ = load_trials(STUDY, copy)
    study.samples_file(first.policy).unlink()
    (study.folder / "trials" / "0123456789abcdef.samples.parquet").write_bytes(b"")
    (study.folder / "mlflow-spool.jsonl").write_text("{}")
    found = [f"{problem.where}: {problem.what}" for problem in doctor(STUDY, copy)]
    for part in ("which is gone", "a process ended 1 times", "are gone", "belongs to no trial", "torch", "to MLflow"):
        assert sum(part in line for line in found) == 1, part
    assert len(found) == 6
    code, out, _ = run(capsys, "study", "doctor", STUDY, "--runs", copy.runs)
    assert code == 1
    assert len(out.splitlines()) == 6
    # What is said to be mended by going on is.
    search(
        SyntheticEvaluator(samples=40), **{**options(copy.runs.parent), "space": None}, study_name=STUDY, resume=True
    )
    left = [f"{problem.where}: {problem.what}" for problem in doctor(STUDY, copy)]
    assert not [line for line in left if "which is gone" in line or "are gone" in line]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_trials_as_a_table(copy: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    out = tmp_path / f"trials{ending}"
    assert run(capsys, "study", "export", STUDY, "--runs", copy.runs, "--out", out)[0] == 0
    table = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
    assert len(table) == len(load_study(STUDY, copy).stored.trials)
    ran = table[table["outcome"] == "ran"]
    assert {"accuracy/image", "flops_ratio", "worker", "policy"} <= set(table.columns)
    assert sorted(ran["accuracy"]) == pytest.approx(sorted(record.accuracy for record in load_trials(STUDY, copy)))


def test_a_study_takes_the_trials_of_another_over(copy: Home, tmp_path: Path) -> None:
    other = {**options(tmp_path), "runs": tmp_path / "other", "seed": 7}
    made = search(SyntheticEvaluator(samples=40), **other, trials=6)
    before = {record.policy.content_hash() for record in load_trials(STUDY, copy)}
    there = {record.policy.content_hash() for record in load_trials(made.study, Home.of(tmp_path / "other"))}
    assert merge(STUDY, made.study, copy, Home.of(tmp_path / "other")) >= len(there - before)
    assert {record.policy.content_hash() for record in load_trials(STUDY, copy)} == before | there
    assert merge(STUDY, made.study, copy, Home.of(tmp_path / "other")) == 0
    evaluator = SyntheticEvaluator(samples=40)
    search(evaluator, **{**options(tmp_path), "space": None}, study_name=STUDY, resume=True)
    assert not [1 for _, split in evaluator.ran if split == "search"]  # nothing runs again
    different = {**options(tmp_path), "runs": tmp_path / "different", "budget": 0.6}
    unlike = search(SyntheticEvaluator(samples=40), **different, trials=2)
    with pytest.raises(SearchError, match="has another budget than"):
        merge(STUDY, unlike.study, copy, Home.of(tmp_path / "different"))


def test_a_study_is_deleted_whole(copy: Home, capsys: pytest.CaptureFixture[str]) -> None:
    folder = load_study(STUDY, copy).folder
    assert run(capsys, "study", "delete", STUDY, "--runs", copy.runs)[0] == 2
    assert folder.exists()
    assert delete(STUDY, copy) == folder
    assert not folder.exists()
    assert optuna.get_all_study_names(copy.url) == []


def test_a_study_that_somebody_works_on_is_not_deleted(copy: Home) -> None:
    study = load_study(STUDY, copy)
    with hold_study(study.folder, STUDY), pytest.raises(SearchError, match="is being searched by process"):
        delete(STUDY, copy)
    leases = Leases(study.stored, copy, Worker.here())
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    lease = leases.take(trial, lambda other: False)
    assert lease is not None
    with pytest.raises(SearchError, match=rf"trial {lease.number} runs on process"):
        delete(STUDY, copy)
    assert study.folder.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "show"], "STUDY: missing; autotc study show STUDY"),
        (["study", STUDY], "argument action"),
        (["study", "merge", STUDY], "OTHER: missing"),
        (["study", "merge", STUDY, STUDY], "name another"),
        (["study", "export", STUDY], "--out: missing"),
        (["study", "export", STUDY, "--out", "x.txt"], "ends in .csv or .parquet"),
        (["study", "list", "--out", "x.csv"], "--out: given with list; it goes with export"),
        (["study", "show", "../x"], "STUDY: "),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    searched: Path, capsys: pytest.CaptureFixture[str], words: list[Any], said: str
) -> None:
    code, out, err = run(capsys, *words, "--runs", searched / "runs")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
