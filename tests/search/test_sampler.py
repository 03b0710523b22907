"""The search as a sampler of Optuna's: ``study.optimize`` in any number of processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import autotc
from autotc.search.errors import SearchError
from autotc.search.leases import GIVEN_BACK, LEASE, LOST
from autotc.search.sampler import PolicySampler
from autotc.search.session import search
from autotc.search.trials import RECORD, StoredTrial, stored_policy

from .fleet import STUDY, Logged, lines, options, start
from .synthetic import SyntheticEvaluator


def sampler(root: Path, evaluator: SyntheticEvaluator | None = None, **more: Any) -> PolicySampler:
    return autotc.sampler(evaluator or SyntheticEvaluator(samples=40), **{**options(root), "trials": 12, **more})


def resumed(root: Path, evaluator: SyntheticEvaluator | None = None) -> PolicySampler:
    places = {"runs": root / "runs", "out_dir": root / "policies", "track": False}
    return autotc.sampler(evaluator or SyntheticEvaluator(samples=40), study_name=STUDY, resume=True, **places)


def ran(study: optuna.Study) -> list[tuple[str, str, tuple[float, ...] | None]]:
    """Hash, state and values of the trials that were taken to run, in order."""
    trials = [trial for trial in study.trials if LEASE in trial.user_attrs and RECORD in trial.user_attrs]
    return [(t.user_attrs[RECORD]["hash"], t.state.name, None if t.values is None else tuple(t.values)) for t in trials]


@pytest.mark.parametrize("name", ["parts", "random", "tpe"])
def test_it_runs_what_a_search_runs(name: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    found = search(SyntheticEvaluator(samples=40), **{**options(tmp_path / "a"), "sampler": name, "trials": 25})
    wanted = ran(optuna.load_study(study_name=STUDY, storage=found.storage))
    driven = sampler(tmp_path / "b", sampler=name)
    driven.study.optimize(driven.objective, n_trials=len(wanted))
    assert ran(driven.study) == wanted
    assert len(wanted) >= 12


def test_what_a_trial_holds(tmp_path: Path) -> None:
    driven = sampler(tmp_path)
    driven.study.optimize(driven.objective, n_trials=20)
    own = [trial for trial in driven.study.trials if LEASE in trial.user_attrs]
    assert len(own) == 20
    assert driven.study.metric_names == ["accuracy", "FLOPs ratio"]
    for trial in own:
        policy = stored_policy(StoredTrial.model_validate(trial.user_attrs[RECORD]), trial.number)
        assert trial.params == driven.space.encode_known(policy)
        assert all(value <= 0 for value in trial.constraints.values())
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        assert (trial.state == TrialState.PRUNED) == (trial.user_attrs[RECORD].get("raced") is not None)
    assert {trial.state for trial in own} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_policy_inside_the_space_is_what_its_parameters_say(tmp_path: Path) -> None:
    driven = sampler(tmp_path)
    for _ in range(6):
        trial = driven.study.ask()
        policy = driven.policy(trial)
        assert policy is not None
        if all(driven.space.holds(name, policy.modality(name)) for name in driven.space.modalities):
            assert driven.space.suggest(trial) == policy
        try:
            driven.study.tell(trial, driven.objective(trial))
        except optuna.TrialPruned:
            driven.study.tell(trial, state=TrialState.PRUNED)


def drive(root: Path, trials: int) -> None:
    """Work on the study in a process of its own."""
    driven = resumed(root, Logged(root / "log", 0.2))
    driven.study.optimize(driven.objective, n_trials=trials)


def test_processes_share_a_study(tmp_path: Path) -> None:
    first = sampler(tmp_path, Logged(tmp_path / "log"), races=False)
    first.study.optimize(first.objective, n_trials=2)
    processes = [start(drive, tmp_path, 8) for _ in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [line for line, times in Counter(lines(tmp_path)).items() if times > 1] == []
    records = [trial.user_attrs[RECORD] for trial in first.study.trials if RECORD in trial.user_attrs]
    hashes = [record["hash"] for record in records if record.get("forwards")]
    assert len(hashes) == len(set(hashes)) == 18
    # The search ends what was driven: it runs nothing more on the search split.
    places = {"runs": tmp_path / "runs", "out_dir": tmp_path / "policies", "track": False}
    ended = search(SyntheticEvaluator(samples=40), study_name=STUDY, resume=True, trials=18, **places)
    assert ended.trials == 18
    assert ended.policy.exists()


def test_a_mechanism_that_fails_costs_its_trial(tmp_path: Path) -> None:
    driven = sampler(tmp_path, SyntheticEvaluator(samples=40, failing="divprune"))
    driven.study.optimize(driven.objective, n_trials=12)
    states = Counter(trial.state for trial in driven.study.trials if LEASE in trial.user_attrs)
    assert states[TrialState.FAIL] >= 1
    assert states[TrialState.COMPLETE] >= 3
    failed = next(t for t in driven.study.trials if t.state == TrialState.FAIL)
    assert "divprune" in failed.user_attrs[RECORD]["error"]


def test_what_was_interrupted_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = SyntheticEvaluator(samples=40)
    driven = sampler(tmp_path, evaluator)
    driven.study.optimize(driven.objective, n_trials=3)

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluator, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        driven.study.optimize(driven.objective, n_trials=1)
    lost = driven.study.trials[-1]
    assert lost.user_attrs[LOST] == GIVEN_BACK
    assert lost.state == TrialState.FAIL
    again = resumed(tmp_path)
    trial = again.study.ask()
    policy = again.policy(trial)
    assert policy is not None
    assert policy.to_yaml() == lost.user_attrs["work"]


def test_one_trial_at_a_time(tmp_path: Path) -> None:
    driven = sampler(tmp_path)
    first = driven.study.ask()
    told = rf"trial {first.number} is still to run: one at a time in a process; n_jobs=1"
    with pytest.raises(SearchError, match=told):
        driven.study.ask()


def test_an_exhausted_space_ends_it(tmp_path: Path) -> None:
    space = """
version: 1
modalities:
  image: {choices: &choices [{mechanism: tome, location: projector, keep_ratio: [0.1, 0.2]}], presets: []}
  audio: {choices: *choices, presets: []}
"""
    driven = sampler(tmp_path, space=write(tmp_path / "small.yaml", space))
    driven.study.optimize(driven.objective, n_trials=100)
    assert len([trial for trial in driven.study.trials if LEASE in trial.user_attrs]) < 100
    assert driven.study.trials[-1].state == TrialState.PRUNED
    assert driven.study.trials[-1].user_attrs[LOST] == "no new policy"


def test_searches_with_a_loop_of_their_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="gsearch has a loop of its own; `autotc search` runs it"):
        sampler(tmp_path, sampler="gsearch")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
