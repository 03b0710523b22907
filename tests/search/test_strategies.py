"""What proposes policies: races, the search's own strategy, and the published searches, on formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotc.policy import Policy, Stage
from autotc.resources import search_space, search_spaces
from autotc.results import Results, SampleResult
from autotc.search.archive import Entry
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Conduct, Engine
from autotc.search.outcome import Failed, Raced, Ran, Refused
from autotc.search.race import Evidence, rungs
from autotc.search.settings import SAMPLERS
from autotc.search.space import SearchSpace
from autotc.search.strategies import build_strategy
from autotc.search.strategies.keys import Keys
from autotc.search.strategies.neighbours import neighbours
from autotc.search.strategies.parts import expected_gain
from autotc.search.strategies.published import sigmoid
from autotc.search.strategies.sampled import Sampled
from autotc.search.strategies.surrogate import Surrogate, improvement

from .synthetic import SyntheticEvaluator

DECODER = """
version: 1
modalities:
  image:
    choices:
      - {mechanism: fastv, location: decoder, layers: [1, 2, 3, 4], keep_ratio: [0.05, 0.95], schedules: [free]}
"""


def evidence(correct: list[float], probability: list[float] | None = None) -> Evidence:
    values = np.array(correct)
    return Evidence(values, values if probability is None else np.array(probability))


def fitted(file: str = "default") -> SearchSpace:
    """A shipped space on the synthetic model."""
    evaluator = SyntheticEvaluator()
    return SearchSpace.load(search_space(file)).fit(evaluator.modalities, evaluator.depths)


def engine(space: str | None = None, budget: float = 0.5, **options: Any) -> Engine:
    evaluator = options.pop("evaluator", None) or SyntheticEvaluator(samples=60)
    found = SearchSpace.load(search_space()) if space is None else SearchSpace.from_yaml(space)
    fitting = found.fit(evaluator.modalities, evaluator.depths)
    out = Engine(evaluator, fitting, Budget(budget), Costs(evaluator), Conduct(**options))
    out.start(evaluator.run(Policy(), "search"))
    return out


def work(engine: Engine, name: Any, steps: int, seed: int = 0) -> list[Any]:
    """Outcomes of a strategy's proposals."""
    strategy = build_strategy(name, seed, lambda modality, keep: [1.0, keep, keep, keep, keep, keep])
    out = []
    for _ in range(steps):
        proposal = strategy.propose(engine)
        if proposal is None:
            break
        out.append(engine.attempt(*proposal))
        strategy.learn(engine, out[-1])
    return out


def test_races_are_judged_in_pairs() -> None:
    good, bad = [1.0] * 18 + [0.0] * 2, [1.0] * 10 + [0.0] * 10
    assert evidence(bad).beaten(evidence(good))
    assert not evidence(good).beaten(evidence(bad))
    assert not evidence(good).beaten(evidence(good))  # no difference is no reason to give up
    # The same answers, given with less confidence: half a difference.
    unsure = evidence([1.0] * 40, [0.2] * 40)
    assert unsure.beaten(evidence([1.0] * 40, [0.9] * 40))
    with pytest.raises(ValueError, match="10 samples of the other; 20"):
        evidence(good).beaten(evidence(good[:10]))


def test_scores_of_any_size_can_be_raced() -> None:
    assert evidence([0.0] * 20).beaten(evidence([100.0] * 20))


def test_samples_without_a_log_probability_count_by_their_score() -> None:
    samples = [SampleResult(str(i), "t", "image", float(i % 2), "", float("nan")) for i in range(4)]
    assert Evidence.of(Results(samples)).soft.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert Results(samples).mean_log_probability() == -5.0


def test_rungs_rise_to_the_whole() -> None:
    assert rungs(200) == [25, 75, 200]
    assert rungs(60) == [16, 22, 60]
    assert rungs(10) == [10]


def test_expected_gain_is_the_area_that_a_sure_policy_adds() -> None:
    def entry(cost: float, accuracy: float) -> Entry:
        return Entry(Policy(), cost, Results(()), evidence([accuracy]), True)

    front = [entry(0.3, 0.5), entry(0.6, 0.8)]
    sure = np.full(4, 1e-9)
    costs = np.array([0.2, 0.3, 0.7, 0.5])
    gain = expected_gain(front, costs, np.array([0.4, 0.6, 0.9, 0.5]), sure, (0.0, 1.0))
    # 0.1 x 0.4 below the front; 0.3 x 0.1 above its first member; 0.3 x 0.1 above its second; nothing.
    assert gain == pytest.approx([0.04, 0.03, 0.03, 0.0], abs=1e-6)
    assert improvement(np.array([0.0]), np.array([1.0]), 0.0)[0] == pytest.approx(0.3989, abs=1e-3)


def test_the_surrogate_carries_over_ratios_and_stacks() -> None:
    space = fitted()

    def at(mechanism: str, ratio: float) -> list[Stage]:
        return [Stage(modality="image", location="projector", mechanism=mechanism, keep_ratio=ratio)]

    seen = [at("random", 0.8), at("random", 0.4), at("random", 0.2), at("divprune", 0.8), at("divprune", 0.2), []]
    losses = np.array([-0.1, -0.3, -0.5, 0.0, -0.02, 0.0])
    model = Surrogate(space, "image", (6, 3))
    model.fit(seen, losses, np.full(len(seen), 1e-4))
    mean, deviation = model.predict([at("random", 0.3), at("divprune", 0.3), at("cdpruner", 0.3)])
    assert -0.5 < mean[0] < -0.25
    assert mean[1] > -0.1
    assert deviation[2] > deviation[0]  # a mechanism that was never seen


def test_the_surrogate_tells_schedules_apart_by_what_is_gone_at_each_layer() -> None:
    space = SearchSpace.from_yaml(DECODER)
    stacks = [stages for stages in space.stacks("image") if stages][::37][:60]

    def loss(stages: tuple[Stage, ...]) -> float:
        left = min((ratio for layer, ratio in stages[0].steps() if (layer or 0) <= 2), default=1.0)
        return -0.4 * (1 - left)

    losses = np.array([loss(stages) for stages in stacks])
    model = Surrogate(space, "image", (6, 3))
    model.fit(stacks[:30], losses[:30], np.full(30, 1e-6))
    mean, _ = model.predict(stacks[30:])
    assert np.corrcoef(mean, losses[30:])[0, 1] > 0.97
    single = SearchSpace.from_yaml(DECODER.replace("free", "single"))
    assert len(Surrogate(single, "image", (6, 3)).features(())) == len(model.features(())) - 4


def test_the_first_schedules_are_a_falling_one_and_the_cheapest() -> None:
    first = [attempt.policy.stages[0] for attempt in work(engine(DECODER, budget=1.0), "parts", 2)]
    assert first[0].layers == {1: 0.5, 2: 0.25, 3: 0.1, 4: 0.05}
    assert (first[1].layer, first[1].keep_ratio) == (1, 0.05)


def test_a_kind_that_cannot_meet_the_budget_holds_up_no_other() -> None:
    space = """
version: 1
modalities:
  image:
    choices:
      - {mechanism: fastv, location: decoder, layers: [5], keep_ratio: [0.8, 0.9]}
      - {mechanism: random, location: projector, keep_ratio: [0.1, 0.9]}
      - {mechanism: divprune, location: projector, keep_ratio: [0.1, 0.9]}
"""
    outcomes = work(engine(space, budget=0.85), "parts", 40)
    assert outcomes[0].rule == "over_budget"
    assert len([outcome for outcome in outcomes if isinstance(outcome, Ran | Raced)]) > 8
    ran = {stage.mechanism for outcome in outcomes if isinstance(outcome, Ran) for stage in outcome.policy.stages}
    assert {"random", "divprune"} <= ran


def test_changes_are_small_steps_inside_the_space() -> None:
    space = fitted()
    start = (Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5),)
    found = list(neighbours(start, space, "image"))
    assert () in found
    assert any(s[0].mechanism == "visionzip" for s in found if len(s) == 1)
    assert {s[0].keep_ratio for s in found if len(s) == 1 and s[0].mechanism == "divprune"} == {0.4, 0.45, 0.55, 0.6}
    assert any(len(s) == 2 for s in found)


@pytest.mark.parametrize("file", sorted(path.stem for path in search_spaces().glob("*.yaml")))
def test_random_keys_stand_for_every_policy_of_a_space(file: str) -> None:
    space = fitted(file)
    keys, rng = Keys(space), np.random.default_rng(0)
    for _ in range(60):
        policy = Policy.of(stage for modality in space.modalities for stage in space.draw(modality, rng))
        point = keys.encode(policy, rng)
        assert tuple(point) == keys.names
        assert set(space.encode(policy)) <= set(keys.names)
        assert keys.decode(point) == policy
    # Any point is a policy of the space, the corners too.
    for point in (*rng.random((40, len(keys.names))), np.zeros(len(keys.names)), np.ones(len(keys.names))):
        policy = keys.decode(dict(zip(keys.names, point.tolist(), strict=True)))
        assert all(space.holds(modality, policy.modality(modality)) for modality in space.modalities)


def test_evolution_crosses_every_parameter() -> None:
    found = engine()
    strategy = build_strategy("nsga2", 0, lambda modality, keep: None)
    assert isinstance(strategy, Sampled)
    for _ in range(25):
        proposal = strategy.propose(found)
        assert proposal is not None
        strategy.learn(found, found.attempt(*proposal))
    done = [trial for trial in strategy._study.trials if trial.state.name == "COMPLETE"]
    assert len(done) > 10
    shared = set.intersection(*(set(trial.params) for trial in done))
    assert shared == set(Keys(found.space).names)
    for trial in done:
        # What it is told is what ran, moved onto the budget.
        assert found.costs(Keys(found.space).decode(trial.params)).flops_ratio <= 0.5
    assert max(trial.system_attrs.get("NSGAIISampler:generation", 0) for trial in strategy._study.trials) > 0


@pytest.mark.parametrize("origin", ["preset:x", "nsga2"])
def test_evolution_begins_with_what_it_is_told(origin: str) -> None:
    """Seeds, and the trials of an earlier call, are parents."""
    found = engine()
    rng, told = np.random.default_rng(0), []
    strategy = build_strategy("nsga2", 0, lambda modality, keep: None)
    assert isinstance(strategy, Sampled)
    while len(told) < 14:
        seed = Policy.of(stage for modality in found.space.modalities for stage in found.space.draw(modality, rng))
        outcome = found.attempt(origin, seed, race=False)
        if isinstance(outcome, Ran):
            strategy.learn(found, outcome)
            told.append(outcome.policy)
    proposal = strategy.propose(found)
    assert proposal is not None
    assert strategy._notes["NSGAIISampler:generation"] == 1
    # A child has nearly all keys of its parents; some change at random.
    parents = [trial.params for trial in strategy._study.trials if trial.state.name == "COMPLETE"]
    inherited = [any(parent[name] == key for parent in parents) for name, key in strategy._drawn.items()]
    assert np.mean(inherited) > 0.8
    # What lies outside the space has no keys.
    outside = Policy.of([Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.333)])
    count = len(strategy._study.trials)
    strategy.learn(found, found.attempt("preset:y", outside, race=False))
    assert len(strategy._study.trials) == count


@pytest.mark.parametrize("name", [s for s in SAMPLERS if s not in ("gp", "nsga3")])
def test_every_strategy_searches_a_decoder(name: Any) -> None:
    found = engine(DECODER, budget=1.0)
    assert sum(isinstance(outcome, Ran | Raced) for outcome in work(found, name, 25)) >= 3
    assert all(run.policy.modalities == ("image",) for run in found.completed)


def test_equal_seeds_propose_the_same() -> None:
    def proposed() -> list[str]:
        return [attempt.policy.content_hash() for attempt in work(engine(), "parts", 30)]

    assert proposed() == proposed()


def test_nothing_over_the_budget_runs() -> None:
    found = engine()
    assert work(found, "parts", 40)
    assert found.completed
    assert all(run.flops_ratio <= 0.5 for run in found.completed)


def test_what_fails_is_not_proposed_again() -> None:
    found = engine(evaluator=SyntheticEvaluator(samples=60, failing="divprune"))
    failed = [outcome.policy for outcome in work(found, "parts", 60) if isinstance(outcome, Failed)]
    parts = [Policy(stages=policy.modality(m)) for policy in failed for m in policy.modalities]
    hashes = [p.content_hash() for p in parts if any(stage.mechanism == "divprune" for stage in p.stages)]
    assert hashes
    assert len(hashes) == len(set(hashes))


def test_refused_stacks_are_counted_and_some_are_audited() -> None:
    asked: list[Policy] = []

    def predict(stack: Policy) -> str:
        asked.append(stack)
        return "told to conflict"

    found = engine(predict_conflict=predict, audit=3)
    outcomes = work(found, "random", 60)
    refused = [o for o in outcomes if isinstance(o, Refused) and o.rule == "predicted_conflict"]
    audited = [o for o in outcomes if isinstance(o, Ran | Raced) and o.audited]
    assert asked
    assert all(len(stack.stages) > 1 for stack in asked)
    assert found.conflicts_predicted == len(refused) + len(audited)
    assert len(audited) == found.conflicts_predicted // 3


def test_a_raced_policy_is_estimated_by_its_paired_change() -> None:
    found = engine(budget=1.0, evaluator=SyntheticEvaluator(samples=200))
    raced = [outcome for outcome in work(found, "random", 60) if isinstance(outcome, Raced)]
    assert raced
    for outcome in raced:
        true = SyntheticEvaluator(samples=200).run(outcome.policy, "search").mean()
        assert found.estimate(outcome.policy) >= true - 0.1  # groups that were not seen count as unchanged
    whole = found.completed[0]
    assert found.estimate(whole.policy) == pytest.approx(whole.accuracy)


def test_sigmoids_fall() -> None:
    for x in np.random.default_rng(0).uniform(size=(50, 4)):
        ratios = sigmoid([1, 2, 3, 4], x)
        assert ratios == sorted(ratios, reverse=True)
        assert all(0 <= ratio <= 1 for ratio in ratios)
