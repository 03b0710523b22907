"""A search that may choose budgets which follow the item."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest

from autotc.evaluate.builtin import BuiltinEvaluator
from autotc.policy import Policy
from autotc.search import search
from autotc.search.account import study_account
from autotc.search.budget import Budget, Costs, at_mean, move_onto_budget
from autotc.search.fitted import fit_space
from autotc.search.home import Home
from autotc.search.space import SearchSpace, SpaceError

TEXT = """version: 1
modalities:
  image:
    max_stages: 2
    presets: []
    choices:
      - {mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8]}
      - {mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8], budget: adaptive}
      - {mechanism: fastv, location: decoder, layers: [1, 2, 3], keep_ratio: [0.05, 0.8], schedules: [single, step],
         budget: {score: text_entropy, spread: 0.8}}
"""


@pytest.fixture(scope="module")
def evaluator() -> BuiltinEvaluator:
    return BuiltinEvaluator()


@pytest.fixture(scope="module")
def space(evaluator: BuiltinEvaluator) -> SearchSpace:
    return fit_space(SearchSpace.from_yaml(TEXT).fit(("image",), evaluator.depths), evaluator)


def test_each_place_is_fitted_and_the_file_keeps_it(space: SearchSpace) -> None:
    fixed, projector, decoder = space.modalities["image"].choices
    assert fixed.budget_at(None) is None
    assert projector.budget_at(None).fitted
    found = [decoder.budget_at(layer) for layer in (1, 2, 3)]
    assert all(budget is not None and budget.fitted and budget.spread == 0.8 for budget in found)
    assert len({budget.scores for budget in found if budget is not None}) == 3
    assert SearchSpace.from_yaml(space.to_yaml()) == space


def test_encode_is_the_inverse_of_suggest(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds = set()
    for _ in range(60):
        policy = space.suggest(study.ask())
        assert space.suggest(optuna.trial.FixedTrial(space.encode(policy))) == policy
        kinds |= {(stage.mechanism, stage.budget is not None) for stage in policy.stages}
    assert kinds == {("divprune", False), ("divprune", True), ("fastv", True)}


def test_moving_meets_what_is_measured(space: SearchSpace, evaluator: BuiltinEvaluator) -> None:
    costs, budget = Costs(evaluator), Budget(by={"image": 0.6})
    choice = space.modalities["image"].choices[1]
    stage = {"modality": "image", "location": "projector", "mechanism": "divprune", "keep_ratio": 0.8}
    policy = Policy.model_validate({"stages": [{**stage, "budget": choice.budget_at(None)}]})
    moved = move_onto_budget(policy, budget, costs, space)
    assert moved is not None
    assert moved.stages[0].budget == choice.budget_at(None)
    assert budget.met(costs(moved))
    assert costs(moved).flops_ratio_by["image"] == pytest.approx(
        costs(at_mean(moved)).flops_ratio_by["image"], rel=0.03
    )
    assert move_onto_budget(policy, Budget(by={"image": 0.01}), costs, space) is None


def test_a_search_writes_a_fitted_budget(evaluator: BuiltinEvaluator, tmp_path: Path) -> None:
    text = re.sub(r"\n +- \{mechanism: divprune[^\n]*0\.8\]\}", "", TEXT)
    limits = {"search_limit": 4, "val_limit": 4, "test_limit": 4}
    result = search(
        evaluator, space=SearchSpace.from_yaml(text), budget=0.9, trials=6, runs=tmp_path, out_dir=tmp_path, **limits
    )
    tried = study_account(result.study, Home.of(tmp_path)).tried
    budgets = [stage.budget for one in tried for stage in one.stages if stage.budget is not None]
    assert budgets
    assert all(budget.fitted for budget in budgets)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("{mechanism: downsample, location: input, keep_ratio: [0.2, 0.8], budget: adaptive}", "no tokens to score"),
        ("{mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8], budget: free}", "'free' given"),
        (
            "{mechanism: divprune, location: projector, keep_ratio: [0.2, 0.8], budget: {score: text_information}}",
            "does not exist at the projector",
        ),
    ],
)
def test_bad_choices_are_refused(choice: str, told: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(told)):
        SearchSpace.from_yaml("version: 1\nmodalities:\n  image:\n    choices:\n      - " + choice)
