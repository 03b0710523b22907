"""Evaluating a policy: accuracy and cost on a split."""

from __future__ import annotations

from pathlib import Path

from autotc.evaluate.base import Evaluator
from autotc.evaluate.factory import evaluator as make_evaluator
from autotc.policy import Policy, read_policy
from autotc.progress import Progress
from autotc.records.evaluation import Evaluation
from autotc.vocabulary import Split


def evaluate(
    policy: Policy | str | Path,
    evaluator: Evaluator | None = None,
    *,
    split: Split = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a policy on a split.

    Args:
        policy: to evaluate: a policy, its file, or ``none`` for the uncompressed model.
        evaluator: model and samples; None takes the embedded ones.
        split: of the samples.
        limit: samples of each modality group that run; None runs all.
        progress: called as samples are done.

    Raises:
        PolicyError: the policy's file is wrong, or it does not fit the model.
        DataError: a sample cannot be read.
        MechanismError: a mechanism failed; the message names it.

    Example:
        >>> measured = autotc.evaluate("policies/tiny-omni-0.4.yaml", limit=50)  # doctest: +SKIP
        >>> measured.accuracy["image"].mean, measured.cost.flops_ratio  # doctest: +SKIP
    """
    name = policy.label() if isinstance(policy, Policy) else str(policy)
    policy = read_policy(policy)
    evaluator = make_evaluator() if evaluator is None else evaluator
    untouched = evaluator.untouched(policy, split)
    cost = evaluator.cost(policy, split)
    results = evaluator.run(policy, split, limit=limit, progress=progress)
    phases = None if evaluator.phases is None else evaluator.phases.to_json()
    return Evaluation(name, policy, split, results, cost, evaluator.info(split).chance, untouched, phases)
