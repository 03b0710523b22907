"""Budgets that follow the sample, fitted to a model and measured on samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotc.budgets import AdaptiveBudget
from autotc.cli import main
from autotc.errors import PolicyError
from autotc.evaluate.budgets import fit_budgets
from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.evaluate.evaluation import evaluate
from autotc.policy import Policy, adaptive_policy

STACK = [
    {"modality": "image", "location": "encoder", "layer": 1, "mechanism": "tome", "keep_ratio": 0.6},
    {"modality": "image", "location": "decoder", "mechanism": "fastv", "layers": {1: 0.5, 2: 0.25}},
    {"modality": "audio", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.5},
]
EVERY = 300


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


@pytest.fixture(scope="module")
def fitted(evaluator: BuiltinEvaluator) -> Policy:
    policy = Policy.model_validate({"stages": STACK})
    return fit_budgets(adaptive_policy(policy, AdaptiveBudget(spread=0.9)), evaluator, samples=EVERY)


def test_fitting_meets_the_ratio_on_the_split_it_saw(evaluator: BuiltinEvaluator, fitted: Policy) -> None:
    fixed = Policy.model_validate({"stages": STACK})
    cost, usual = evaluator.cost(fitted, "search"), evaluator.cost(fixed, "search")
    for modality in ("image", "audio"):
        assert cost.tokens[modality] == pytest.approx(usual.tokens[modality], abs=0.5)
    assert cost.flops_ratio == pytest.approx(usual.flops_ratio, rel=0.01)
    assert cost.flops_spread is not None
    assert usual.flops_spread is not None
    low, tenth, half, most, high = cost.flops_spread
    assert low <= tenth <= half <= most <= high
    assert high - low > usual.flops_spread[-1] - usual.flops_spread[0]


def test_later_stages_keep_under_what_earlier_ones_leave(fitted: Policy) -> None:
    first, second, third = (stage.budget for stage in fitted.stages)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.most is None
    assert third.most is None
    assert second.most == first.lowest(0.6)
    assert fitted.note == f"budgets follow the item, fitted on {EVERY} samples a modality"


def test_fitting_again_gives_the_same_file(evaluator: BuiltinEvaluator, fitted: Policy) -> None:
    first = fitted.model_copy(update={"stages": fitted.stages[:1]})
    assert fit_budgets(first, evaluator, samples=EVERY).to_yaml() == first.to_yaml()


def test_an_evaluation_tells_the_spread(evaluator: BuiltinEvaluator, fitted: Policy) -> None:
    measured = evaluate(fitted, evaluator, split="val", limit=4)
    assert measured.to_json()["flops_spread"] == measured.cost.flops_spread
    assert measured.results.counts()["image"] == 4


def test_what_cannot_be_fitted_is_told(evaluator: BuiltinEvaluator) -> None:
    with pytest.raises(PolicyError, match="there is nothing to fit"):
        fit_budgets(Policy.model_validate({"stages": STACK}), evaluator)
    with pytest.raises(PolicyError, match=r"stages\.0\.budget: adaptive given, and not fitted"):
        evaluator.cost(adaptive_policy(Policy.model_validate({"stages": STACK}), AdaptiveBudget()), "search")


def test_the_command_fits_presets_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, again = tmp_path / "one.yaml", tmp_path / "two.yaml"
    name = ["presets", "divprune", "--keep", "0.25", "--modality", "image", "--calibrate", "4"]
    assert main([*name, "--budget", "variety", "--spread", "0.8", "--out", str(file)]) == 0
    one = Policy.load(file)
    assert one.stages[0].budget is not None
    assert one.stages[0].budget.spread == 0.8
    assert main(["presets", str(file), "--calibrate", "5", "--out", str(again)]) == 0
    two = Policy.load(again)
    assert two.stages[0].budget is not None
    assert two.stages[0].budget.scores != one.stages[0].budget.scores
    assert two.note == (one.note or "").replace(" 4 ", " 5 ")
    capsys.readouterr()
    for wrong, told in (
        ([*name[:-2], "--budget", "variety"], "without --calibrate N"),
        ([*name, "--spread", "0.5"], "without --budget SCORE"),
        ([*name, "--budget", "variety", "--spread", "0"], "a number in [-1, 1], not 0"),
        ([*name, "--budget", "text_information"], "does not exist at the projector"),
        (["presets", str(file), "--calibrate", "4", "--keep", "0.5"], "which says how much to keep"),
    ):
        assert main(wrong) == 2
        assert told in capsys.readouterr().err
