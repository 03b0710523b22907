"""Interactions computed by hand from made-up results, and measured on few samples of the embedded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotc import cli
from autotc.conflicts.equal_cost import flops_ratio, stage_at_cost
from autotc.errors import ConflictError, DataError, PolicyError
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.interactions import (
    Conflicts,
    Pair,
    additive,
    conflicts,
    default_placements,
    effect,
    interaction,
    legal_pairs,
    parse_pairs,
    parse_placement,
)
from autotc.policy import Policy
from autotc.statistics import Interval
from autotc.vocabulary import Modality


def scores(*runs: tuple[float, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([np.full(n, value) for value, n in runs])


def test_against_one_stage_it_is_the_paired_difference() -> None:
    stack, alone = scores((1, 70), (0, 30)), scores((1, 60), (0, 40))
    mean, low, high = interaction(stack, [alone])
    assert mean == pytest.approx(0.1)
    assert 0.03 < low < mean < high < 0.18  # of 100 samples ten differ: +-1.96 x sqrt(0.1 x 0.9 / 100)


def test_a_stage_that_is_clearly_better_is_what_counts() -> None:
    stack, good, poor = scores((1, 80), (0, 20)), scores((1, 90), (0, 10)), scores((1, 10), (0, 90))
    mixed = np.random.default_rng(0).permutation(100)
    for alone in ([good, poor], [poor, good]):
        mean, low, high = interaction(stack[mixed], [a[mixed] for a in alone])
        assert mean == pytest.approx(-0.1)
        assert low < -0.1 < high < 0
    assert effect(Interval(-0.1, -0.16, -0.04)) == "conflict"


def test_the_better_of_two_equal_stages_is_not_too_good() -> None:
    rng = np.random.default_rng(0)
    crossed, naive, verdicts = [], [], []
    for _ in range(60):
        stack, first, second = (rng.random((3, 100)) < 0.8).astype(float)
        found = interaction(stack, [first, second])
        crossed.append(found[0])
        naive.append(stack.mean() - max(first.mean(), second.mean()))
        verdicts.append(effect(found))
    assert abs(np.mean(crossed)) < 2 * np.std(crossed) / 60**0.5
    too_good = np.array(crossed) - naive
    assert np.mean(too_good) > 4 * np.std(too_good) / 60**0.5
    assert verdicts.count("neutral") >= 55


def test_verdicts() -> None:
    assert effect(Interval(0.0, -0.01, 0.01)) == "neutral"
    assert effect(Interval(0.05, 0.0, 0.1)) == "neutral"
    assert effect(Interval(0.05, 0.01, 0.1)) == "synergy"


def test_the_additive_form() -> None:
    # 0.5 - 0.75 - 0.5 + 1: each alone loses 0.25 and 0.5, together they lose 0.5, less than the sum.
    mean, low, high = additive(scores((1, 2), (0, 2)), scores((1, 3), (0, 1)), scores((1, 2), (0, 2)), scores((1, 4)))
    assert mean == pytest.approx(0.25)
    assert low <= mean <= high


def test_results_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2"):
        interaction(scores((1, 1)), [scores((1, 1))])
    with pytest.raises(DataError, match="equally many"):
        interaction(scores((1, 3)), [scores((1, 4))])


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


def pair(first: str, second: str, modality: Modality, evaluator: BuiltinEvaluator) -> Pair:
    return Pair(
        parse_placement(first, evaluator.depths), parse_placement(second, evaluator.depths), modality, (0.5, 0.25)
    )


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_a_stage_alone_costs_what_the_stack_costs(evaluator: BuiltinEvaluator, modality: Modality) -> None:
    stacked = pair("tome@encoder", "divprune@projector", modality, evaluator)
    target = flops_ratio(evaluator, stacked.stack(), "search", modality)
    n0 = {"image": 64, "video": 96, "audio": 75}[modality]
    for stage in stacked.stages():
        found = stage_at_cost(evaluator, stage, target, "search")
        assert found.reached
        (moved,) = found.policy.stages
        count = round(moved.final_ratio * n0)
        for other in (count - 1, count + 1):
            near = Policy(stages=(moved.model_copy(update={"keep_ratio": other / n0}),))
            assert abs(found.flops_ratio - target) <= abs(flops_ratio(evaluator, near, "search", modality) - target)


def test_a_stage_that_cannot_be_that_cheap_is_no_alternative(evaluator: BuiltinEvaluator) -> None:
    stacked = pair("divprune@projector", "fastv@decoder", "image", evaluator)
    target = flops_ratio(evaluator, stacked.stack(), "search", "image")
    first, second = (stage_at_cost(evaluator, stage, target, "search") for stage in stacked.stages())
    assert (first.reached, second.reached) == (True, False)
    assert second.flops_ratio > target


def test_names_of_places(evaluator: BuiltinEvaluator) -> None:
    ((first, second),) = parse_pairs(["tome@encoder+fastv@decoder[3]"], evaluator.depths)
    assert (first.label, second.label) == ("tome@encoder[1]", "fastv@decoder[3]")
    for wrong, right in (
        ("fastv@decoder", "two stages"),
        ("fastv+tome", "mechanism@location"),
        ("tome@tower+fastv@decoder", "unknown location .tower.; known: input, encoder, projector, decoder"),
        ("fastv@projector+tome@decoder", "fastv can stand at decoder"),
        ("divprune@projector[2]+fastv@decoder", "no layers at the projector"),
        ("nothing@projector+fastv@decoder", "nothing"),
    ):
        with pytest.raises(PolicyError, match=right):
            parse_pairs([wrong], evaluator.depths)


def test_the_default_pairs_span_families_and_places(evaluator: BuiltinEvaluator) -> None:
    places = default_placements(evaluator.depths)
    pairs = list(legal_pairs(evaluator, places, ["image", "video", "audio"], [(0.5, 0.25)]))
    stages = [stage for found in pairs for stage in found.stages()]
    assert {stage.build().family for stage in stages} == {"similarity", "attention", "query", "transformation"}
    assert {stage.location for stage in stages} == {"encoder", "projector", "decoder"}
    assert len(pairs) >= 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def found(evaluator: BuiltinEvaluator, runs: Path) -> Conflicts:
    pairs = [
        pair("tome@encoder", "cdpruner@projector", "image", evaluator),
        pair("evs@projector", "fastv@decoder", "video", evaluator),
        pair("divprune@projector", "fastv@decoder", "audio", evaluator),
    ]
    return conflicts(evaluator, pairs, split="search", limit=10, runs=runs, name="default", samples=4)


def test_rows_say_what_they_are_made_of(found: Conflicts, evaluator: BuiltinEvaluator) -> None:
    assert len(found.rows) == 3
    for row in found.rows:
        data, measured = row.to_json(), row.measured
        results = evaluator.run(measured.pair.stack(), "search", limit=10, groups=[measured.pair.modality])
        assert data["accuracy"]["stack"] == pytest.approx(results.mean())
        if measured.reached == ("first",):
            assert data["interaction"] == pytest.approx(data["accuracy"]["stack"] - data["accuracy"]["first"])
        low, high = data["interval"]
        assert low <= data["interaction"] <= high
        assert data["verdict"] == effect(Interval(data["interaction"], low, high))
        assert 0 <= data["predicted"] <= 1
        for name in measured.reached:
            assert abs(measured.flops_ratio[name] - measured.flops_ratio["stack"]) < 0.01


def test_files_and_words(found: Conflicts) -> None:
    assert [path.name for path in found.files] == [
        "conflicts.json",
        "conflicts.txt",
        "conflicts.png",
        "worst.png",
        "best.png",
    ]
    assert all(path.stat().st_size > 500 for path in found.files)
    text = found.files[1].read_text()
    assert "worst: " in text
    assert "best: " in text
    assert json.loads(found.files[0].read_text()) == json.loads(json.dumps(found.to_json()))


def test_what_is_known_does_not_run_again(found: Conflicts, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = BuiltinEvaluator()
    monkeypatch.setattr(again, "run", None)
    pairs = [row.measured.pair for row in found.rows]
    same = conflicts(again, pairs, split="search", limit=10, runs=runs, name="default", samples=4, mlflow=False)
    assert same.to_json() == found.to_json()
    with pytest.raises(DataError, match="limit"):
        conflicts(again, pairs, split="search", limit=9, runs=runs, name="default", mlflow=False)


def test_what_a_rule_refuses_is_not_measured(evaluator: BuiltinEvaluator, runs: Path) -> None:
    twice = pair("tome@projector", "tome@decoder", "image", evaluator)
    with pytest.raises(ConflictError, match="same_criterion_twice"):
        conflicts(evaluator, [twice], runs=runs, name="refused")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["conflicts", "--pairs", "divprune@projector+fastv@decoder", "--modality", "image", "--split", "search"]
    arguments += ["--limit", "6", "--samples", "2", "--keep", "0.5:0.25,0.3:0.1", "--runs", str(tmp_path), "--json"]
    assert cli.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["keep"] for row in rows] == [[0.5, 0.25], [0.3, 0.1]]
    assert {"first", "second", "predicted", "interaction", "interval", "verdict"} <= set(rows[0])
    assert (rows[0]["first"], rows[0]["second"]) == ("divprune@projector", "fastv@decoder[2]")
    assert (tmp_path / "mlflow.db").exists()
    for wrong, told in (
        (["--pairs", "fastv@decoder+divprune@projector"], "order stages by depth"),
        (["--pairs", "divprune@projector"], "two stages joined by +"),
        (["--keep", "0.25:0.5"], "the second lower"),
        (["--pairs", "tome@projector+tome@decoder"], "same_criterion_twice"),
        (["--pairs", "evs@projector+fastv@decoder"], "none is left"),
    ):
        assert cli.main(["conflicts", "--modality", "image", "--runs", str(tmp_path), *wrong]) == 2
        out, err = capsys.readouterr()
        assert (out, told in err, len(err.splitlines())) == ("", True, 1), err
