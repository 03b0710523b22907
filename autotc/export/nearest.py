"""What an engine offers in place of the stages that it cannot run, at the same cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autotc.export.engine import Engine
from autotc.export.plan import Plan
from autotc.policy import Policy, Stage
from autotc.solve import last_step
from autotc.vocabulary import Modality

Flops = Callable[[Policy, Modality], float]
"""FLOPs ratio of a policy on samples of one modality."""


def nearest(plan: Plan, policy: Policy, flops: Flops) -> dict[Modality, tuple[Stage, ...]]:
    """What the engine offers in place of the stages that it refused, for each of their modalities.

    Each is at the whole-percent keep ratio whose FLOPs are nearest to the policy's on that modality. None where the
    engine has nothing for the modality, which then stays as the other stages leave it.
    """
    out: dict[Modality, tuple[Stage, ...]] = {}
    for modality in dict.fromkeys(refusal.stage.modality for refusal in plan.refused):
        stages = policy.modality(modality)
        target = flops(policy, modality)
        offers = plan.engine.offers(modality, plan.architecture, stages, plan.pixels)
        out[modality] = tuple(_matched(plan.engine, offer, target, flops) for offer in offers)
    return out


def _matched(engine: Engine, offer: Stage, target: float, flops: Flops) -> Stage:
    """The stage at the keep ratio whose FLOPs are nearest to a target."""

    def stage(percent: int) -> Stage:
        return offer.model_copy(update={"keep_ratio": engine.keep_ratio(percent / 100)})

    def cost(percent: int) -> float:
        return flops(Policy(stages=(stage(percent),)), offer.modality)

    # Costs rise with the ratio; the two percents lie on both sides of the target.
    below = last_step(1, 99, lambda percent: cost(percent) <= target)
    return stage(min((below, below + 1), key=lambda percent: abs(cost(percent) - target)))


def combined(plan: Plan, chosen: Mapping[Modality, Stage | None]) -> Policy:
    """The stages that run with what stands in for the refused ones.

    A modality that was partly refused takes its stand-in alone.

    Args:
        plan: of the policy.
        chosen: modality with refused stages -> its stand-in.
    """
    kept = [stage for stage in plan.deployed.stages if chosen.get(stage.modality) is None]
    return Policy.of([*kept, *(stage for stage in chosen.values() if stage is not None)], plan.deployed.model)
