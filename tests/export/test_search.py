"""A search for an engine proposes, ranks and exports what the engine can run, and nothing else."""

from __future__ import annotations

from pathlib import Path

from autotc.export import get_engine, plan_export
from autotc.policy import Policy
from autotc.resources import search_space
from autotc.search import search
from autotc.search.space import SearchSpace
from autotc.search.space.engines import deployable_space
from tests.search.synthetic import SyntheticEvaluator


def test_everything_that_ran_can_be_served(tmp_path: Path) -> None:
    engine = get_engine("vllm-built-in")
    ran: list[Policy] = []
    evaluator = SyntheticEvaluator(on_run=lambda policy, split: ran.append(policy))
    space = deployable_space(SearchSpace.load(search_space("deployable")), engine)
    result = search(
        evaluator,
        space=space,
        budget=1.0,
        budgets={"video": 0.7},
        trials=8,
        track=False,
        runs=tmp_path / "runs",
        out_dir=tmp_path / "policies",
    )
    compressed = [policy for policy in ran if policy.stages]
    assert len({policy.content_hash() for policy in compressed}) >= 8
    for policy in [*compressed, *(Policy.load(row.policy) for row in result.front)]:
        plan = plan_export(policy.model_copy(update={"model": None}), engine)
        assert plan.expressible
        assert plan.deployed.stages == policy.stages  # as it stands: the counts are the engine's already
    exported = Policy.load(result.policy)
    assert evaluator.cost(exported, "test").flops_ratio_by["video"] <= 0.7
