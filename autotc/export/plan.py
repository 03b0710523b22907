"""A policy on an engine: which of its stages the engine runs, which it does not, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autotc.export.engine import Engine
from autotc.policy import Policy, Stage


@dataclass(frozen=True)
class Refusal:
    """A stage that the engine cannot run, and why."""

    stage: Stage
    reason: str


@dataclass(frozen=True)
class Plan:
    """What becomes of a policy on an engine.

    Attributes:
        engine: for which.
        architecture: class of the model to be served; None for any.
        deployed: the stages that it runs, as it runs them.
        refused: the others.
        notes: how what runs differs from what the policy says, and what else to know.
        pixels: of every image that will be asked about; None where it is not known.
    """

    engine: Engine
    architecture: str | None
    deployed: Policy
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]
    pixels: int | None = None

    @property
    def expressible(self) -> bool:
        """Whether every stage runs."""
        return not self.refused

    def noted(self, stages: Iterable[Stage]) -> Plan:
        """The plan with what is to know of stages that stand in for refused ones."""
        more = (note for stage in stages for note in self.engine.notes(stage, self.architecture))
        return replace(self, notes=(*self.notes, *more))


def plan_export(policy: Policy, engine: Engine, architecture: str | None = None, *, pixels: int | None = None) -> Plan:
    """Which stages of a policy an engine can run.

    Args:
        policy: to deploy.
        engine: on which.
        architecture: class of the model to be served; None takes the policy's, and any where it names none.
        pixels: of every image that will be asked about, for input stages.
    """
    architecture = architecture or (policy.model.architecture if policy.model else None)
    deployed: list[Stage] = []
    refused: list[Refusal] = []
    notes: list[str] = []
    for stage in policy.stages:
        reason = engine.refusal(stage, architecture, deployed, pixels)
        if reason is not None:
            refused.append(Refusal(stage, reason))
            continue
        deployed.append(engine.as_run(stage))
        notes += engine.notes(stage, architecture)
    rest = Policy(stages=tuple(deployed), model=policy.model)
    return Plan(engine, architecture, rest, tuple(refused), tuple(notes), pixels)
