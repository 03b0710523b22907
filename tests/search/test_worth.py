"""How an exported policy stands against what needs no search, and whether a search makes sense at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autotc.evaluate.jsonl import JsonlEvaluator
from autotc.policy import Policy, Stage
from autotc.report.search import worth_lines
from autotc.results import Results, SampleResult, SplitCost
from autotc.search.errors import SearchError
from autotc.search.home import Home
from autotc.search.progress import SearchProgress
from autotc.search.result import FrontRow
from autotc.search.sanity import check_sanity
from autotc.search.session import search
from autotc.search.storage import load_study
from autotc.search.trials import TrialRecord
from autotc.search.worth import Trials, assess
from autotc.vocabulary import Split
from tests.search.synthetic import SyntheticEvaluator

ACCURACY = {"random": 0.6, "divprune": 0.8, "tome": 0.7, "cdpruner": 0.85}


def results(level: float, *, size: int = 100, guide: float = -0.1) -> Results:
    """The same samples under every policy: those whose number is below the level are right."""
    return Results(
        tuple(SampleResult(str(i), "t", "image", float(i < level * size), "x", guide, cluster="") for i in range(size))
    )


def policy(mechanism: str, ratio: float = 0.5) -> Policy:
    stage = Stage(modality="image", location="projector", layer=None, mechanism=mechanism, keep_ratio=ratio)
    return Policy(stages=(stage,))


def record(number: int, origin: str, mechanism: str, accuracy: float) -> TrialRecord:
    return TrialRecord(number, policy(mechanism), origin, accuracy, {"image": accuracy}, 0.5, {"image": 32.0}, -0.1)


def row(trial: int, ratio: float, *, chosen: bool = False) -> FrontRow:
    return FrontRow("", "", 0.0, {}, ratio, trial, {}, "test", chosen=chosen)


def trials(*records: TrialRecord) -> Trials:
    def run(asked: Policy, split: Split) -> Results | None:
        return results(ACCURACY[asked.stages[0].mechanism])

    def cost(asked: Policy, split: Split) -> SplitCost:
        return SplitCost(0.5, {"image": 0.5}, 1e9, {}, {}, 1e6, 0.0)

    return Trials(records, run, cost)


def test_the_best_preset_and_control_on_the_test_split() -> None:
    tried = trials(
        record(0, "control:random", "random", 0.6),
        record(1, "preset:divprune", "divprune", 0.8),
        record(2, "preset:tome", "tome", 0.7),
        record(3, "parts", "cdpruner", 0.85),
    )
    found = results(0.85)
    worth = assess(tried, policy("cdpruner"), found, [(row(3, 0.5, chosen=True), found)])
    preset, control = worth.rivals
    assert (preset.kind, preset.names, preset.accuracy, preset.same) == ("preset", {"image": "divprune"}, 0.8, False)
    assert preset.difference["overall"].mean == pytest.approx(0.05)
    assert (control.names, control.difference["overall"].mean) == ({"image": "random"}, pytest.approx(0.25))
    assert worth.neighbours == ()
    better, clear, alone = worth_lines(json.loads(json.dumps(worth.to_json())))
    assert better.startswith("against the best preset of each modality (image divprune) at 0.500 of the FLOPs")
    assert "+0.050 [" in better
    assert clear.endswith("better")
    assert alone == "no dearer point within the budget is more accurate on search"


def test_an_exported_policy_that_is_a_preset() -> None:
    tried = trials(record(1, "preset:divprune", "divprune", 0.8))
    worth = assess(tried, policy("divprune"), results(0.8), [(row(1, 0.5, chosen=True), results(0.8))])
    assert worth.rivals[0].same
    assert worth_lines(worth.to_json())[0] == (
        "the exported policy is the best preset of each modality (image divprune): the search found nothing better"
    )


def test_the_next_points_of_the_front() -> None:
    points = [(row(4, 0.3), results(0.5)), (row(1, 0.5, chosen=True), results(0.8)), (row(2, 0.6), results(0.9))]
    worth = assess(trials(), policy("divprune"), results(0.8), points)
    cheaper, dearer = worth.neighbours
    assert (cheaper.side, cheaper.trial, cheaper.difference.mean) == ("cheaper", 4, pytest.approx(-0.3))
    assert (dearer.side, dearer.trial, dearer.difference.mean) == ("dearer", 2, pytest.approx(0.1))
    assert [line.split(":")[0] for line in worth_lines(worth.to_json())] == [
        "next cheaper point, 0.300 of the FLOPs",
        "next dearer point, 0.600 of the FLOPs",
    ]


def test_a_search_says_what_it_was_worth(tmp_path: Path) -> None:
    result = search(
        SyntheticEvaluator(samples=40), trials=20, track=False, runs=tmp_path / "runs", out_dir=tmp_path / "policies"
    )
    kinds = [rival.kind for rival in result.worth.rivals]
    assert kinds == ["preset", "control"]
    assert set(result.worth.rivals[0].names) == {"image", "video", "audio"}
    kept = load_study(result.study, Home.of(tmp_path / "runs")).attribute("worth")
    assert kept is not None
    assert kept | json.loads(json.dumps(result.worth.to_json())) == kept
    assert kept["policy"] == str(result.policy)


# --- sanity ---


class Guessing(SyntheticEvaluator):
    """Right as often as always giving the most frequent answer."""

    def _accuracy(self, policy: Policy, modality: str) -> float:
        return 0.1


class Log(SearchProgress):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_event(self, message: str) -> None:
        self.events.append(message)


def test_a_model_that_guesses_is_not_searched(tmp_path: Path) -> None:
    options = {"trials": 4, "track": False, "runs": tmp_path / "runs", "out_dir": tmp_path / "policies"}
    log = Log()
    with pytest.raises(SearchError, match=r"no better than a guess on image: .* of 60 samples.*--force"):
        search(Guessing(samples=60), progress=log, **options)
    assert len(log.events) == 3  # answers that were wrong
    assert not (tmp_path / "policies").exists()
    assert search(Guessing(samples=60), force=True, **options).trials == 4


def test_few_samples_do_not_tell_a_guess() -> None:
    evaluator = Guessing(samples=10)
    few = Results(tuple(SampleResult(str(i), "image-task", "image", float(i < 1), "x", -1.0) for i in range(10)))
    assert check_sanity(few, evaluator) is None


def test_prompts_are_shown_with_what_was_said_and_what_is_right(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = []
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        lines.append({"id": str(i), "images": [f"{i}.png"], "prompt": f"which digit is it? {i}", "answer": f"word{i}"})
    data = tmp_path / "ours.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    log = Log()
    with pytest.raises(SearchError, match="right on none of the"):
        search(JsonlEvaluator(data), progress=log, track=False, runs=tmp_path / "runs", out_dir=tmp_path / "policies")
    shown = [event for event in log.events if "which digit is it?" in event]
    assert len(shown) == 3
    for event in shown:
        asked, said, right = event.splitlines()
        number = asked.rpartition(" ")[2]
        assert said.startswith("  said  '")
        assert right == f"  right 'word{number}'"
