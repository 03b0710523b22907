"""What stands in for stages that an engine has not: the nearest that it expresses, measured on samples."""

from __future__ import annotations

from autotc.errors import DataError
from autotc.evaluate.base import Evaluator
from autotc.export import Flops, Plan, combined, nearest
from autotc.policy import Policy, Stage
from autotc.records.export import AccuracyPair
from autotc.statistics import Interval
from autotc.vocabulary import Group, Modality, Split


def sample_flops(evaluator: Evaluator) -> Flops:
    """FLOPs ratios on the test split's samples that hold a modality; it raises DataError where none does."""

    def flops(policy: Policy, modality: Modality) -> float:
        groups = groups_holding(evaluator, "test", modality)
        stages = Policy(stages=policy.modality(modality))
        if not groups:
            raise DataError(f"the data holds no {modality}, which the policy compresses; --no-measure leaves it out")
        return evaluator.cost(stages, "test", groups=groups).flops_ratio

    return flops


def groups_holding(evaluator: Evaluator, split: Split, modality: Modality) -> list[str]:
    """Modality groups of a split whose samples hold a modality."""
    return [group for group in evaluator.info(split).samples if Group(group).holds(modality)]


def with_stand_ins(
    plan: Plan, policy: Policy, flops: Flops | None, evaluator: Evaluator | None, limit: int | None
) -> tuple[Plan, Policy]:
    """A plan's expressed stages with what stands in for the refused ones, and the plan with what to know of those.

    Args:
        plan: of the policy, with refused stages.
        policy: to deploy.
        flops: what stand-ins are matched by; None takes keep ratios.
        evaluator: chooses between several mechanisms on the validation split; None takes the first.
        limit: samples of each modality group to measure; None takes all.
    """
    if flops is None:
        options = nearest(plan, policy, lambda p, modality: min(s.final_ratio for s in p.modality(modality)))
    else:
        options = nearest(plan, policy, flops)
    chosen = {modality: _most_accurate(stages, modality, evaluator, limit) for modality, stages in options.items()}
    return plan.noted(stage for stage in chosen.values() if stage is not None), combined(plan, chosen)


def _most_accurate(
    stages: tuple[Stage, ...], modality: Modality, evaluator: Evaluator | None, limit: int | None
) -> Stage | None:
    """The stand-in that is most accurate on the validation split; unmeasured, the first."""
    if evaluator is None or len(stages) < 2:
        return stages[0] if stages else None
    groups = groups_holding(evaluator, "val", modality)

    def accuracy(stage: Stage) -> float:
        return evaluator.run(Policy(stages=(stage,)), "val", limit=limit, groups=groups).mean()

    return max(stages, key=accuracy)


def measured_accuracy(
    evaluator: Evaluator, policy: Policy, deployed: Policy, limit: int | None
) -> tuple[dict[str, AccuracyPair], dict[str, Interval]]:
    """Accuracies of a policy and of what runs in its place on the test split, and their paired difference."""
    touched = set(policy.modalities)
    groups = [group for group in evaluator.info("test").samples if touched & set(Group(group).modalities)]
    before, after = (evaluator.run(p, "test", limit=limit, groups=groups) for p in (policy, deployed))
    theirs = after.accuracy()
    pairs = {group: AccuracyPair(value, theirs[group]) for group, value in before.accuracy().items()}
    return pairs, after.difference(before)
