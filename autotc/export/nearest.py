"""What an engine offers in place of the stages that it cannot express, at the same cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autotc.export.engine import Capability, Engine
from autotc.export.plan import Plan
from autotc.policy import Policy, Stage
from autotc.solve import last_step
from autotc.vocabulary import Modality

Flops = Callable[[Policy, Modality], float]
"""FLOPs ratio of a policy on samples of one modality."""


def nearest(plan: Plan, policy: Policy, flops: Flops) -> dict[Modality, tuple[Stage, ...]]:
    """What the engine offers in place of the stages that it refused, for each of their modalities.

    Each is a stage of a mechanism that it has, at the whole-percent keep ratio whose FLOPs are nearest to the policy's
    on that modality; the policy's own mechanisms come first. None where the engine has nothing for the modality, which
    then stays as the expressed stages leave it.
    """
    out: dict[Modality, tuple[Stage, ...]] = {}
    for modality in dict.fromkeys(refusal.stage.modality for refusal in plan.refused):
        stages = policy.modality(modality)
        target = flops(policy, modality)
        capable = sorted(
            (c for c in plan.engine.capable(modality, plan.architecture) if c.location != "input"),
            key=lambda c: all(c.mechanism != stage.mechanism for stage in stages),
        )
        if modality == "image" and plan.pixels is not None and plan.engine.takes_pixels(plan.architecture):
            capable.append(_PIXEL_CAP)
        out[modality] = tuple(_matched(plan.engine, capability, target, flops) for capability in capable)
    return out


_PIXEL_CAP = Capability("image", "input", "downsample", {})
"""Images shrunk to a cap on their pixels, which needs no support by the model's class beyond its processor's."""


def _matched(engine: Engine, capability: Capability, target: float, flops: Flops) -> Stage:
    """The capability at the keep ratio whose FLOPs are nearest to a target."""

    def stage(percent: int) -> Stage:
        return Stage(
            modality=capability.modality,
            location=capability.location,
            layer=None,
            mechanism=capability.mechanism,
            keep_ratio=engine.keep_ratio(percent / 100),
            params=dict(capability.params),
        )

    def cost(percent: int) -> float:
        return flops(Policy(stages=(stage(percent),)), capability.modality)

    # Costs rise with the ratio; the two percents lie on both sides of the target.
    below = last_step(1, 99, lambda percent: cost(percent) <= target)
    return stage(min((below, below + 1), key=lambda percent: abs(cost(percent) - target)))


def combined(plan: Plan, chosen: Mapping[Modality, Stage | None]) -> Policy:
    """The expressed stages with what stands in for the refused ones.

    A modality that was partly refused takes its stand-in alone.

    Args:
        plan: of the policy.
        chosen: modality with refused stages -> its stand-in.
    """
    kept = [stage for stage in plan.deployed.stages if chosen.get(stage.modality) is None]
    return Policy.of([*kept, *(stage for stage in chosen.values() if stage is not None)], plan.deployed.model)
