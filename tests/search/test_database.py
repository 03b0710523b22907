"""Trials that are read in plain queries are those that Optuna itself reads."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from autotc.search import database
from autotc.search.database import Database


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Two studies with trials of every state, and of every kind of parameter, value and attribute."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    one = optuna.create_study(storage=url, study_name="one", directions=["maximize", "minimize"])
    optuna.create_study(storage=url, study_name="two").optimize(lambda trial: trial.suggest_float("x", 0, 1), 2)
    for number in range(6):
        trial = one.ask()
        trial.suggest_categorical("mechanism", ["tome", "fastv", None, 3, 0.5])
        trial.suggest_int("layer", 1, 9, step=2)
        trial.suggest_float("ratio", 0.1, 0.9, step=0.1)
        trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        trial.set_user_attr("record", {"hash": str(number), "values": [1, 2.5, None]})
        trial.set_constraint("flops_ratio", -0.1)
        if number < 3:
            one.tell(trial, (float(number), -math.inf if number == 1 else 0.5))
        elif number == 3:
            one.tell(trial, state=TrialState.PRUNED)
        elif number == 4:
            one.tell(trial, state=TrialState.FAIL)
    one.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
    single = optuna.load_study(study_name="two", storage=url).ask()
    for step, value in enumerate((0.5, math.nan, math.inf)):
        single.report(value, step)
    return url


@pytest.fixture(params=["UTC", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") != "Asia/Kolkata"
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize("listed", [400, 1])
@pytest.mark.parametrize(("unfinished", "after"), [((), -1), ((), 4), ((2, 6), 4), ((2,), -1), ((), 100)])
def test_trials_are_those_that_optuna_reads(
    url: str, unfinished: tuple[int, ...], after: int, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LISTED", listed)
    ours, theirs = Database(url), RDBStorage(url)
    for study in theirs.get_all_studies():
        found = ours._get_trials(study._study_id, None, set(unfinished), after)
        assert repr(found) == repr(theirs._get_trials(study._study_id, None, set(unfinished), after))
        assert found or after >= 4


def test_a_study_in_it_is_as_any_other(url: str) -> None:
    ours = optuna.load_study(study_name="one", storage=Database(url))
    assert ours.get_trials(states=[TrialState.FAIL])[0].number == 4
    ours.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    assert [trial.state.name for trial in ours.trials] == [
        "COMPLETE",
        "COMPLETE",
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "RUNNING",
        "WAITING",
        "FAIL",
    ]
    assert repr(ours.trials) == repr(optuna.load_study(study_name="one", storage=url).trials)
    assert ours.best_trials[0].values == [1.0, -math.inf]
