"""Searches that go wrong: a trial's fault costs the trial, what is done is kept, and what to do is said in one line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotc.policy import Policy
from autotc.results import Results
from autotc.search.errors import SearchError, SearchInterrupted
from autotc.search.failures import LIMIT, MechanismFailures
from autotc.search.home import Home
from autotc.search.interrupts import TrialTimeout, time_limit
from autotc.search.locks import hold_study
from autotc.search.progress import SearchProgress
from autotc.search.result import SearchResult
from autotc.search.session import search
from autotc.search.settings import StudySettings
from autotc.search.storage import create_study, list_studies, load_front, load_study
from autotc.vocabulary import Split
from tests.search.synthetic import SyntheticEvaluator

SPACE = """
version: 1
modalities:
  image:
    choices:
      - {mechanism: divprune, location: projector, keep_ratio: [0.1, 0.9]}
      - {mechanism: tome, location: projector, keep_ratio: [0.1, 0.9]}
      - {mechanism: cdpruner, location: projector, keep_ratio: [0.1, 0.9]}
    presets: []
"""


class Log(SearchProgress):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_event(self, message: str) -> None:
        self.events.append(message)


def run(root: Path, evaluator: SyntheticEvaluator | None = None, **options: Any) -> SearchResult:
    space = root / "space.yaml"
    if not space.exists():
        root.mkdir(parents=True, exist_ok=True)
        space.write_text(SPACE)
    usual: dict[str, Any] = {"trials": 4, "track": False, "budget": 0.9, "name": "m", "sampler": "random"}
    usual |= {"runs": root / "runs", "out_dir": root / "policies"}
    if not options.get("resume"):
        usual["space"] = space
    return search(evaluator or SyntheticEvaluator(samples=20), **{**usual, **options})


def resumed(root: Path, evaluator: SyntheticEvaluator | None = None, **options: Any) -> SearchResult:
    return run(root, evaluator, study_name="m-b0.9-s0", resume=True, **options)


def raising(error: BaseException, mechanism: str) -> Callable[[Policy, Split], None]:
    def on_run(policy: Policy, split: Split) -> None:
        if any(stage.mechanism == mechanism for stage in policy.stages):
            raise error

    return on_run


# --- before anything runs ---


def test_a_budget_that_no_ratio_meets_is_told_at_once(tmp_path: Path) -> None:
    space = SPACE.replace("0.1, 0.9", "0.8, 0.9")
    (tmp_path / "space.yaml").write_text(space.replace("version: 1", "version: 1\ndeployable_on: vllm"))
    evaluator = SyntheticEvaluator(samples=20)
    with pytest.raises(SearchError, match=r"no policy of the space meets it; its lowest ratios reach flops_ratio 0\.9"):
        run(tmp_path, evaluator, budget=0.7)
    assert not evaluator.ran
    assert not (tmp_path / "runs").exists()


# --- trials ---


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("broken\n\x1b[31mred"), MemoryError()])
def test_a_mechanism_that_always_fails_is_left_out_by_name(tmp_path: Path, error: BaseException) -> None:
    log = Log()
    result = run(tmp_path, SyntheticEvaluator(samples=20, on_run=raising(error, "divprune")), trials=10, progress=log)
    assert result.trials == 10
    assert 0 < result.failed <= LIMIT
    assert "divprune" not in Policy.load(result.policy).label()
    assert all("\x1b" not in event for event in log.events)
    if result.failed == LIMIT:
        assert any(event.startswith("divprune failed whenever it ran") for event in log.events)


def test_the_mechanism_that_is_named_is_at_fault() -> None:
    def of(*names: str) -> Policy:
        places = [("encoder", 1), ("projector", None)]
        return Policy.model_validate(
            {
                "stages": [
                    {"modality": "image", "location": at, "layer": layer, "mechanism": name, "keep_ratio": ratio}
                    for name, (at, layer), ratio in zip(names, places, (0.8, 0.5), strict=False)
                ]
            }
        )

    failures = MechanismFailures()
    for _ in range(LIMIT - 1):
        assert failures.failed(of("tome", "divprune"), "MechanismError: divprune: no") == []
    assert failures.failed(of("tome", "divprune"), "MechanismError: divprune: no") == ["divprune"]
    failures.went_well(of("tome"))
    for _ in range(LIMIT):
        assert failures.failed(of("tome"), "RuntimeError: no memory") == []


def test_a_trial_that_hangs_is_failed_by_its_time(tmp_path: Path) -> None:
    def hang(policy: Policy, split: Split) -> None:
        if split == "search" and any(stage.mechanism == "divprune" for stage in policy.stages):
            time.sleep(60)

    began = time.monotonic()
    result = run(tmp_path, SyntheticEvaluator(samples=20, on_run=hang), trial_timeout=0.3, trials=10)
    assert time.monotonic() - began < 50
    assert result.failed > 0
    stored = optuna.load_study(study_name=result.study, storage=result.storage).trials
    errors = [t.user_attrs["record"]["error"] for t in stored if t.state.name == "FAIL"]
    assert all("TrialTimeout: took longer than 0.3 s" in error for error in errors)


def test_a_time_limit_holds_in_other_threads_too() -> None:
    ended: list[str] = []

    def work() -> None:
        try:
            with time_limit(0.2):
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline:
                    time.sleep(0.01)
        except TrialTimeout:
            ended.append("in time")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(40)
    assert ended == ["in time"]


def test_a_model_that_is_never_right_is_not_searched(tmp_path: Path) -> None:
    class Wrong(SyntheticEvaluator):
        def _accuracy(self, policy: Policy, modality: str) -> float:
            return 0.0

    with pytest.raises(SearchError, match=r"right on none of the 20 samples of image.*--force"):
        run(tmp_path, Wrong(samples=20))
    assert not (tmp_path / "policies").exists()
    assert run(tmp_path, Wrong(samples=20), force=True).trials == 4


# --- kills ---


def killed_at(root: Path, mechanism: str, resume: bool) -> None:
    """Search in this process, which is killed as soon as a mechanism runs."""

    def kill(policy: Policy, split: Split) -> None:
        if any(stage.mechanism == mechanism for stage in policy.stages):
            os.kill(os.getpid(), signal.SIGKILL)

    (resumed if resume else run)(root, SyntheticEvaluator(samples=20, on_run=kill), trials=16)


def test_a_policy_that_kills_the_process_is_left_out_after_three_deaths(tmp_path: Path) -> None:
    for again in (False, True, True):
        process = multiprocessing.get_context("spawn").Process(target=killed_at, args=(tmp_path, "divprune", again))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
    log = Log()
    evaluator = SyntheticEvaluator(samples=20)
    result = resumed(tmp_path, evaluator, trials=16, progress=log)
    assert result.exhausted or result.trials >= 16
    assert sum("a worker was killed, or crashed, while" in event for event in log.events) == 3
    assert any("workers ended whenever divprune ran" in event for event in log.events)
    stored = optuna.load_study(study_name=result.study, storage=result.storage).trials
    lost = [trial for trial in stored if "lost" in trial.user_attrs]
    assert len({trial.user_attrs["work"] for trial in lost}) == 1  # it was tried again, twice
    assert len(lost) == 3
    failed = [trial.user_attrs["record"]["error"] for trial in stored if "error" in trial.user_attrs.get("record", {})]
    assert any("the process ended 3 times while it ran" in error for error in failed)
    assert not [key for key in evaluator.repeated if key[0] == "search"]


def test_a_termination_is_an_interruption(tmp_path: Path) -> None:
    calls: list[int] = []

    def terminate(policy: Policy, split: Split) -> None:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(SearchInterrupted, match=r"autotc search --resume m-b0\.9-s0"):
        run(tmp_path, SyntheticEvaluator(samples=20, on_run=terminate))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    stored = load_study("m-b0.9-s0", Home.of(tmp_path / "runs")).stored.trials
    assert not [trial for trial in stored if trial.state.name == "RUNNING"]
    assert [trial.user_attrs["lost"] for trial in stored if "lost" in trial.user_attrs] == ["given back"]
    assert resumed(tmp_path).trials == 4


# --- the end ---


def test_a_policy_that_fails_at_the_end_is_left_out_by_name(tmp_path: Path) -> None:
    best = Policy.load(run(tmp_path, trials=6).policy)

    def fail(policy: Policy, split: Split) -> None:
        if split == "test" and policy.stages == best.stages:
            raise MemoryError("no memory")

    log = Log()
    again = run(tmp_path / "again", SyntheticEvaluator(samples=20, on_run=fail), trials=6, progress=log)
    assert any("left out on test (MemoryError: no memory)" in event for event in log.events)
    assert Policy.load(again.policy).stages != best.stages


def test_the_end_goes_on_where_it_stopped(tmp_path: Path) -> None:
    ran: list[Split] = []

    def fail(policy: Policy, split: Split) -> None:
        ran.append(split)
        if split == "test":
            raise OSError(28, "No space left on device")

    with pytest.raises(SearchError, match=r"cannot? be run on .*test; .*go on: autotc search --resume m-b0\.9-s0"):
        run(tmp_path, SyntheticEvaluator(samples=20, on_run=fail))
    assert "val" in ran
    evaluator = SyntheticEvaluator(samples=20)
    assert resumed(tmp_path, evaluator).trials == 4
    assert {split for _, split in evaluator.ran} == {"test"}


def test_a_full_disk_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    good = (tmp_path / "policies" / "m-0.9.yaml").read_bytes()

    def full(self: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(
        SearchError, match=r"No space left on device.*go on: autotc search --resume m-b0\.9-s0"
    ) as caught:
        resumed(tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert (tmp_path / "policies" / "m-0.9.yaml").read_bytes() == good
    assert resumed(tmp_path).policy.read_bytes() == good


def test_a_file_that_is_replaced_is_told(tmp_path: Path) -> None:
    path = run(tmp_path).policy
    again, other, foreign = Log(), Log(), Log()
    run(tmp_path, progress=again)
    assert not again.events  # the same policy
    policy = Policy.load(path)
    assert policy.measured is not None
    policy.model_copy(update={"measured": policy.measured.model_copy(update={"study": "another"})}).save(path)
    resumed(tmp_path, progress=other)
    assert other.events == [f"{path}: replaces trial {policy.measured.trial} of another"]
    path.write_text("something else")
    resumed(tmp_path, progress=foreign)
    assert foreign.events == [f"{path}: another file stood there; it is replaced"]


# --- two at once ---


def test_one_process_searches_a_study(tmp_path: Path) -> None:
    run(tmp_path)
    with (
        hold_study(tmp_path / "runs" / "m-b0.9-s0", "m-b0.9-s0"),
        pytest.raises(SearchError, match=rf"is being searched by process {os.getpid()} on .*wait for its end"),
    ):
        resumed(tmp_path)
    assert resumed(tmp_path).trials == 4


def test_searches_that_start_together_make_a_study_each(tmp_path: Path) -> None:
    settings = StudySettings(budget=0.5, space="", policy_name="p", base_name="s", samples_sha256="")
    made: list[str] = []
    home = Home.of(tmp_path / "runs")
    threads = [threading.Thread(target=lambda: made.append(create_study(settings, home).name)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(made) == ["s", "s~2", "s~3"]
    assert list_studies(Home.of(tmp_path / "runs")) == sorted(made)


# --- what is stored ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    run(root, search_limit=15, val_limit=12, test_limit=11)
    return root


def broken(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def without_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE trials")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        connection.execute("UPDATE version_info SET library_version = '99.0.0'")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken, "is damaged"),
        (without_table, r"is damaged \(no table trials\)"),
        (newer, "was written by another version of Optuna"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(
    finished: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    import shutil

    runs = Path(shutil.copytree(finished / "runs", tmp_path / "runs"))
    damage(runs / "studies.db")
    for action in (
        lambda: resumed(tmp_path),
        lambda: load_front("m-b0.9-s0", Home.of(runs)),
        lambda: list_studies(Home.of(runs)),
    ):
        with pytest.raises(SearchError, match=said) as caught:
            action()
        assert "studies.db" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_locked_database_is_named(finished: Path) -> None:
    with sqlite3.connect(finished / "runs" / "studies.db") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SearchError, match="is locked by another program"):
            resumed(finished)
        connection.rollback()


def test_a_study_that_never_began_is_named_and_made_anew(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    optuna.create_study(study_name="m-b0.9-s0", storage=f"sqlite:///{runs / 'studies.db'}")
    with pytest.raises(SearchError, match=r"m-b0\.9-s0: has no settings.*start it again without --resume"):
        resumed(tmp_path)
    assert load_front("m-b0.9-s0", Home.of(runs)) == []
    assert run(tmp_path).study == "m-b0.9-s0"


@pytest.mark.parametrize("gone", [False, True])
def test_samples_that_are_damaged_or_gone_run_again(finished: Path, gone: bool) -> None:
    before = load_front("m-b0.9-s0", Home.of(finished / "runs"))
    folder = finished / "runs" / "m-b0.9-s0"
    for path in (folder / "uncompressed.samples.parquet", next((folder / "trials").glob("*.parquet"))):
        if gone:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100])
    log = Log()
    result = resumed(finished, progress=log)
    assert result.trials == 4
    assert sum("runs again" in event for event in log.events) >= 1
    assert load_front("m-b0.9-s0", Home.of(finished / "runs")) == before
    assert Results.load(folder / "uncompressed.samples.parquet").counts()["image"] == 15


def test_a_resumed_study_keeps_all_three_limits(finished: Path) -> None:
    result = resumed(finished)
    measured = Policy.load(result.policy).measured
    assert measured is not None
    assert set(measured.samples.values()) == {11}


@pytest.mark.parametrize("name", ["runs", "out_dir"])
def test_a_file_in_place_of_a_folder_is_told_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    evaluator = SyntheticEvaluator(samples=20)
    with pytest.raises(SearchError, match=f"{name}: .*is no folder"):
        run(tmp_path, evaluator, **{name: tmp_path / "file" / "x"})
    assert not evaluator.ran


def test_another_model_does_not_go_on_with_a_study(finished: Path) -> None:
    class Other(SyntheticEvaluator):
        def stamp(self, split: Split) -> Any:
            return super().stamp(split).model_copy(update={"weights": "sha256:other"})

    with pytest.raises(SearchError, match="made with something else: the model's weights"):
        resumed(finished, Other(samples=20))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_is_dropped_ends_the_search_all_the_same(tmp_path: Path, kind: signal.Signals) -> None:
    """Python drops what is raised in a finalizer; the search ends before it runs anything more."""

    class Dropped:
        def __del__(self) -> None:
            os.kill(os.getpid(), kind)
            time.sleep(0.01)  # it is raised here

    class Dropping(SyntheticEvaluator):
        runs = 0

        def run(self, *args: Any, **kwargs: Any) -> Results:
            Dropping.runs += 1
            if Dropping.runs == 6:
                Dropped()
            return super().run(*args, **kwargs)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    try:
        with pytest.raises(SearchInterrupted) as interrupted:
            run(tmp_path, Dropping(), trials=40)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted.value.terminated is (kind == signal.SIGTERM)
    assert Dropping.runs == 6
