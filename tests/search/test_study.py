"""The search loop, on an evaluator that computes its accuracies from a formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotc.pareto import hypervolume
from autotc.policy import Policy, Stage
from autotc.resources import search_space
from autotc.results import Results
from autotc.search.budget import Budget, Costs, move_onto_budget, with_ratios
from autotc.search.errors import SearchError, SearchInterrupted
from autotc.search.home import Home
from autotc.search.progress import SearchProgress
from autotc.search.result import SearchResult
from autotc.search.session import search
from autotc.search.settings import SearchOptions, SearchSettings
from autotc.search.space import SearchSpace, SpaceError
from autotc.search.storage import list_studies, load_front
from autotc.vocabulary import Split

from .synthetic import SyntheticEvaluator


def run(root: Path, evaluator: SyntheticEvaluator | None = None, **options: Any) -> SearchResult:
    options = {
        "trials": 12,
        "budget": 0.5,
        "track": False,
        "runs": root / "runs",
        "out_dir": root / "policies",
        **options,
    }
    return search(evaluator or SyntheticEvaluator(), **options)


def stored(result: SearchResult) -> list[optuna.trial.FrozenTrial]:
    trials = optuna.load_study(study_name=result.study, storage=result.storage).trials
    return [trial for trial in trials if "record" in trial.user_attrs]  # the others were given back


class Log(SearchProgress):
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.done: list[tuple[int, int]] = []
        self.events: list[str] = []

    def on_phase(self, name: str) -> None:
        self.phases.append(name)

    def on_trial(self, done: int, total: int, eta: float, front: Any) -> None:
        assert eta >= 0
        assert front
        self.done.append((done, total))

    def on_event(self, message: str) -> None:
        self.events.append(message)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, SyntheticEvaluator, Log, Path]:
    root = tmp_path_factory.mktemp("searched")
    evaluator, log = SyntheticEvaluator(), Log()
    return run(root, evaluator, trials=50, progress=log), evaluator, log, root


def test_budget_is_met_and_nothing_infeasible_ran(searched: Any) -> None:
    result, _, _, _ = searched
    complete = [t for t in stored(result) if t.state.name == "COMPLETE"]
    assert result.trials == len(complete) >= 50
    assert sum(t.user_attrs["record"]["ran"] for t in complete) == 50
    assert all(t.values[1] <= 0.5 and all(v <= 0 for v in t.constraints.values()) for t in complete)
    assert all(row.flops_ratio <= 0.5 for row in result.front)
    kept = [t.user_attrs["record"] for t in stored(result)]
    refused = {record["hash"] for record in kept if "refused" in record}
    ran = {record["hash"] for record in kept if "accuracy" in record}
    assert refused
    assert not refused & ran


def test_no_policy_runs_twice_on_search(searched: Any) -> None:
    _, evaluator, _, _ = searched
    assert not [key for key in evaluator.repeated if key[0] == "search"]


def test_races_spare_samples(tmp_path: Path) -> None:
    evaluator = SyntheticEvaluator(samples=200)
    result = run(tmp_path, evaluator, trials=20, sampler="random")
    raced = [t.user_attrs["record"] for t in stored(result) if "raced" in t.user_attrs["record"]]
    assert result.raced == len(raced) > 0
    assert all(record["samples"] < 800 and "points behind" in record["raced"] for record in raced)
    whole = sum(n for (split, _, _), n in evaluator.forwards.items() if split == "search")
    assert result.forwards == whole - 800  # the uncompressed model's are not the search's
    assert result.saved == 800 * (20 + len(raced)) - result.forwards
    every = run(tmp_path / "every", SyntheticEvaluator(samples=200), trials=20, sampler="random", races=False)
    assert every.raced == 0


def test_refusals_are_recorded_by_rule(searched: Any) -> None:
    result, _, _, _ = searched
    rules: dict[str, int] = {}
    for trial in stored(result):
        if "refused" in trial.user_attrs["record"]:
            rules[trial.user_attrs["record"]["refused"]] = rules.get(trial.user_attrs["record"]["refused"], 0) + 1
            assert trial.user_attrs["record"]["reason"]
    assert rules == result.refused
    assert rules["over_budget"] >= 2  # what no ratio brings within the budget


def test_rules_refuse_what_a_blind_sampler_draws(tmp_path: Path) -> None:
    result = run(tmp_path, trials=40, sampler="random")
    assert set(result.refused) & {"same_criterion_twice", "grid_lost", "no_scores", "keeps_more_than_left"}


def test_presets_and_controls_come_first(searched: Any) -> None:
    result, _, _, _ = searched
    origins = [t.user_attrs["record"]["origin"] for t in stored(result) if "refused" not in t.user_attrs["record"]]
    assert origins[:3] == ["control:random", "control:uniform_stride", "control:downsample"]
    presets = [o for o in origins if o.startswith("preset:")]
    assert origins[3 : 3 + len(presets)] == presets
    assert {"preset:fastv", "preset:divprune", "preset:a_tome", "preset:evs"} <= set(presets)
    assert {"parts", "combine"} <= set(origins)


def test_search_beats_its_seeds(searched: Any) -> None:
    result, _, _, _ = searched
    complete = [t for t in stored(result) if t.state.name == "COMPLETE"]
    seeds = [t for t in complete if ":" in t.user_attrs["record"]["origin"]]
    assert max(t.values[0] for t in complete) > max(t.values[0] for t in seeds)


def test_export(searched: Any) -> None:
    result, _, log, root = searched
    assert result.policy == root / "policies" / "tiny-omni-0.5.yaml"
    policy = Policy.load(result.policy)
    chosen = next(row for row in result.front if row.chosen)
    assert policy.measured is not None
    assert policy.measured.study == "tiny-omni-b0.5-s0"
    assert policy.measured.trial == chosen.trial
    assert policy.measured.flops_ratio == pytest.approx(chosen.flops_ratio)
    assert policy.model == SyntheticEvaluator().model
    samples = Results.load(result.policy.with_suffix(".samples.parquet"))
    assert samples.counts() == policy.measured.samples
    assert samples.mean() == pytest.approx(chosen.accuracy)
    assert set(chosen.difference) == {"image", "video", "audio", "image+audio", "overall"}
    assert all(Policy.load(row.policy).measured for row in result.front)
    assert log.phases == ["open", "uncompressed", "search", "val", "test", "worth", "report"]
    assert log.done[-1] == (50, 50)
    document = json.loads(json.dumps(result.to_json()))
    assert {"policy", "front", "trials", "seconds", "hypervolume"} <= set(document)
    assert {"policy", "accuracy", "flops_ratio", "trial"} <= set(document["front"][0])
    assert all(path.stat().st_size > 1000 for path in result.figures)


def test_front_is_not_dominated(searched: Any) -> None:
    result, _, _, root = searched
    front = load_front(result.study, Home.of(root / "runs"))
    for a in front:
        assert not any(b.accuracy >= a.accuracy and b.flops_ratio < a.flops_ratio for b in front)
    points = [(r.accuracy, r.flops_ratio) for r in front]
    assert result.hypervolume == pytest.approx(hypervolume(points, (0.1, 1.0)))
    assert 0 < result.hypervolume < 0.9


def test_same_seed_same_file(tmp_path: Path) -> None:
    first = run(tmp_path / "a", trials=22).policy.read_bytes()
    again = run(tmp_path / "b", trials=22)
    assert again.policy.read_bytes() == first
    repeated = run(tmp_path / "b", trials=22)  # beside the first study, under a name of its own
    assert repeated.policy.read_bytes() == first
    assert list_studies(Home.of(tmp_path / "b" / "runs")) == ["tiny-omni-b0.5-s0", "tiny-omni-b0.5-s0~2"]


def test_failing_mechanism_fails_its_trials_only(tmp_path: Path) -> None:
    log = Log()
    result = run(tmp_path, SyntheticEvaluator(failing="divprune"), progress=log)
    failed = [t for t in stored(result) if t.state.name == "FAIL"]
    assert failed
    assert result.failed == len(failed)
    assert result.trials == 12
    assert all("MechanismError: divprune: broken" in t.user_attrs["record"]["error"] for t in failed)
    assert "divprune" in log.events[0]


def test_broken_evaluator_ends_the_search(tmp_path: Path) -> None:
    def broken(policy: Policy, split: Split) -> None:
        if policy.stages:
            raise RuntimeError("no memory")

    with pytest.raises(SearchError, match=r"in a row failed.*no memory"):
        run(tmp_path, SyntheticEvaluator(on_run=broken))


def test_interruption_is_resumable_to_the_same_trials(tmp_path: Path) -> None:
    seen: list[Policy] = []

    def interrupt(policy: Policy, split: Split) -> None:
        seen.append(policy)
        if len(seen) == 40:
            raise KeyboardInterrupt

    with pytest.raises(SearchInterrupted, match=r"after \d+ of 12 trials.*autotc search --resume tiny-omni-b0\.5-s0$"):
        run(tmp_path, SyntheticEvaluator(on_run=interrupt))
    evaluator = SyntheticEvaluator()
    result = run(tmp_path, evaluator, trials=None, study_name="tiny-omni-b0.5-s0", resume=True)
    assert result.trials == 12
    assert not [key for key in evaluator.repeated if key[0] == "search"]
    # What the stored trials had run is not run again: neither the uncompressed model nor the controls.
    assert not [key for key in evaluator.forwards if key[0] == "search" and key[2] == Policy().content_hash()]
    controls = [t for t in stored(result) if t.user_attrs["record"]["origin"].startswith("control:")]
    assert len(controls) == 3
    for trial in controls:
        policy = Policy.from_data(trial.user_attrs["record"]["policy"])
        assert ("search", "image", Policy(stages=policy.modality("image")).content_hash()) not in evaluator.forwards
    assert len({t.user_attrs["record"]["hash"] for t in stored(result)}) == len(stored(result))


def test_resumed_complete_study_gives_the_same_front(tmp_path: Path) -> None:
    first = run(tmp_path)
    text = first.policy.read_bytes()
    evaluator = SyntheticEvaluator()
    again = run(tmp_path, evaluator, study_name=first.study, resume=True)
    assert again.front == first.front
    assert again.policy.read_bytes() == text
    assert not [1 for _, split in evaluator.ran if split == "search"]
    more = run(tmp_path, trials=14, study_name=first.study, resume=True)
    assert more.trials == 14


def test_budgets_of_single_modalities(tmp_path: Path) -> None:
    result = run(tmp_path, budget=0.6, budgets={"audio": 0.4})
    assert result.policy.name == "tiny-omni-0.6-audio0.4.yaml"
    evaluator = SyntheticEvaluator()
    for row in result.front:
        cost = evaluator.cost(Policy.load(row.policy), "test")
        assert cost.flops_ratio <= 0.6
        assert cost.flops_ratio_by["audio"] <= 0.4


def test_one_modality_space(tmp_path: Path) -> None:
    evaluator = SyntheticEvaluator()
    result = run(tmp_path, evaluator, space=search_space().parent / "image.yaml", budget=0.9)
    assert {m for row in result.front for m in Policy.load(row.policy).modalities} == {"image"}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"budget": 0.0}, SearchError, "budget: 0.0 given"),
        ({"budget": 1.2}, SearchError, "a FLOPs ratio in"),
        ({"budget": float("nan")}, SearchError, "budget: nan"),
        ({"budgets": {"smell": 0.5}}, SearchError, "budgets.smell"),
        ({"budgets": {"audio": 7}}, SearchError, "budgets.audio: 7"),
        ({"trials": 0}, SearchError, "trials: 0 given"),
        ({"sampler": "magic"}, SearchError, "sampler: 'magic' given"),
        ({"trials": "many"}, SearchError, "trials: 'many' given; input should be a valid integer"),
        ({"budgets": 3}, SearchError, "budgets: 3 given; input should be a valid dictionary"),
        ({"val_limit": 0}, SearchError, "val_limit: 0 given; input should be greater than or equal to 1"),
        ({"trails": 3}, SearchError, "trails: unknown setting of a search; did you mean 'trials'"),
        ({"study_name": "none", "resume": True}, SearchError, "'none' is not in"),
        ({"space": "nowhere.yaml"}, SpaceError, "nowhere.yaml: no such file"),
    ],
)
def test_wrong_settings(tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        run(tmp_path, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_are_the_settings() -> None:
    assert list(SearchOptions.__annotations__) == list(SearchSettings.model_fields)


def test_resume_refuses_other_settings_and_data(tmp_path: Path) -> None:
    first = run(tmp_path, trials=3)
    with pytest.raises(SearchError, match=r"budget: 0.4 given; study .* was made with 0.5"):
        run(tmp_path, study_name=first.study, resume=True, budget=0.4)
    with pytest.raises(SearchError, match="other samples"):
        run(tmp_path, SyntheticEvaluator(samples=50), study_name=first.study, resume=True)


def test_moving_onto_the_budget_stays_on_the_grid_and_close_to_it() -> None:
    evaluator = SyntheticEvaluator()
    space = SearchSpace.load(search_space()).fit(evaluator.modalities, evaluator.depths)
    costs = Costs(evaluator)
    stages = [
        {"modality": m, "location": "projector", "mechanism": "divprune", "keep_ratio": 0.9}
        for m in ("image", "video", "audio")
    ]
    policy = Policy.model_validate({"stages": stages})
    moved = move_onto_budget(policy, Budget(0.5), costs, space)
    assert moved is not None
    assert 0.46 < costs(moved).flops_ratio <= 0.5
    space.encode(moved)
    assert move_onto_budget(moved, Budget(0.5), costs, space) is moved
    alone = Policy.model_validate({"stages": stages[:1]})
    assert move_onto_budget(alone, Budget(0.5), costs, space) is None


def test_a_schedule_lowered_to_one_step_is_written_as_one() -> None:
    stage = Stage.model_validate(
        {"modality": "image", "location": "decoder", "mechanism": "fastv", "layers": {1: 0.5, 3: 0.25}}
    )
    assert with_ratios(stage, [40, 20]).layers == {1: 0.4, 3: 0.2}
    lowered = with_ratios(stage, [5, 5])
    assert (lowered.layers, lowered.layer, lowered.keep_ratio) == (None, 1, 0.05)
    assert Stage.model_validate(lowered.model_dump()) == lowered


def test_a_study_that_is_named_is_that_one(tmp_path: Path) -> None:
    first, second = (run(tmp_path, trials=6).study for _ in range(2))
    assert (first, second) == ("tiny-omni-b0.5-s0", "tiny-omni-b0.5-s0~2")
    assert run(tmp_path, study_name=first, resume=True).study == first
    assert run(tmp_path, study_name=second, resume=True).study == second
    assert run(tmp_path, resume=True).study == second  # the usual name means the latest
