"""A policy's way onto an engine: its settings, what stands in for stages that it has not, and what that costs."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autotc.errors import DataError
from autotc.export.base import Deployment, Engine, Flops, Plan, combined, nearest, plan_export
from autotc.policy import Policy, Stage
from autotc.vocabulary import MODALITIES, Group, Modality


class Measurer(Protocol):
    """What is needed of an `autotc.evaluate.base.Evaluator`, which stands floors above."""

    def info(self, split: Any) -> Any:
        """Samples of a split."""

    def cost(self, policy: Policy, split: Any, *, groups: Collection[str] | None = None) -> Any:
        """Analytic cost."""

    def run(
        self, policy: Policy, split: Any, *, limit: int | None = None, groups: Collection[str] | None = None
    ) -> Any:
        """Per-sample results."""


@dataclass(frozen=True)
class Export:
    """What `export` found.

    Attributes:
        plan: which stages of the policy the engine expresses.
        deployed: what runs there: the policy where all is expressed, else the nearest that is.
        deployment: the engine's settings for it.
        flops: modality that the policy touches -> FLOPs ratio of the policy and of ``deployed``; None unless estimated.
        accuracy: modality group -> accuracy (mean, low, high) of the policy and of ``deployed``; None unless measured.
        difference: modality group -> paired change in accuracy (mean, low, high); None unless measured.
    """

    plan: Plan
    deployed: Policy
    deployment: Deployment
    flops: Mapping[str, tuple[float, float]] | None
    accuracy: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] | None
    difference: Mapping[str, tuple[float, float, float]] | None

    def to_json(self) -> dict[str, Any]:
        """As ``autotc export --json`` prints it."""
        engine = self.plan.engine
        refused = {id(refusal.stage): refusal.reason for refusal in self.plan.refused}
        return {
            "engine": engine.name,
            "version": engine.version,
            "expressible": self.plan.expressible,
            "refused": [{"stage": r.stage.label(), "reason": r.reason} for r in self.plan.refused],
            "nearest": self.deployed.label() if refused else None,
            "command": list(self.deployment.command),
            "python": self.deployment.python,
            "config": dict(self.deployment.config),
            "environment": dict(self.deployment.environment),
            "deployed": self.deployed.model_dump(mode="json", exclude_none=True),
            "notes": list(self.plan.notes),
            "flops_ratio": _pairs(self.flops),
            "accuracy": _pairs(self.accuracy),
            "difference": None if self.difference is None else {k: list(v) for k, v in self.difference.items()},
        }

    def text(self) -> str:
        """The same for people."""
        engine, lines = self.plan.engine, []
        lines.append(f"{engine.title} (its source read at {engine.version})")
        for refusal in self.plan.refused:
            lines.append(f"refused      {refusal.stage.label()}: {refusal.reason}")
        if self.plan.refused:
            lines.append(f"nearest      {self.deployed.label()}")
            bare = {r.stage.modality for r in self.plan.refused} - set(self.deployed.modalities)
            for modality in sorted(bare, key=MODALITIES.index):
                where = f" in {self.plan.architecture}" if self.plan.architecture else ""
                lines.append(f"             {modality} stays uncompressed: {engine.title} has nothing for it{where}")
        else:
            lines.append(f"expressed    {self.deployed.label()}")
        for name, value in self.deployment.environment.items():
            lines.append(f"environment  {name}={value}")
        if self.deployment.command:
            lines.append(f"command      {shlex.join(self.deployment.command)}")
        lines.append(f"python       {self.deployment.python}")
        lines += [f"note         {note}" for note in self.plan.notes]
        return "\n".join(lines)


def _pairs(values: Mapping[str, tuple[Any, Any]] | None) -> dict[str, dict[str, Any]] | None:
    if values is None:
        return None
    return {name: {"policy": policy, "deployed": deployed} for name, (policy, deployed) in values.items()}


def export(
    policy: Policy,
    engine: Engine,
    *,
    architecture: str | None = None,
    model: str = "MODEL",
    pixels: int | None = None,
    flops: Flops | None = None,
    measurer: Measurer | None = None,
    limit: int | None = None,
) -> Export:
    """Settings of an engine for a policy, or for the nearest that it can express.

    Args:
        policy: to deploy.
        engine: on which.
        architecture: class of the model to be served; None takes the policy's, and any where it names none.
        model: to be served, for the settings.
        pixels: of every image that will be asked about, for input stages.
        flops: FLOPs ratio of a policy on samples of a modality; None takes the measurer's, or none.
        measurer: an evaluator; measures the nearest policy's accuracy beside the policy's. Where several mechanisms
            could stand in, the validation split decides; numbers are of the test split.
        limit: samples of each modality group to measure; None takes all.
    """
    plan = plan_export(policy, engine, architecture, pixels=pixels)
    if flops is None and measurer is not None:
        flops = _flops_of(measurer)
    deployed = plan.deployed
    if plan.refused:
        if flops is None:
            options = nearest(plan, policy, lambda p, m: min(s.final_ratio for s in p.modality(m)))
        else:
            options = nearest(plan, policy, flops)
        chosen = {m: _best(stages, m, measurer, limit) for m, stages in options.items()}
        deployed = combined(plan, chosen)
        plan = plan.noted(stage for stage in chosen.values() if stage is not None)
    costs: dict[str, tuple[float, float]] | None = None
    if flops is not None:
        costs = {m: (flops(policy, m), flops(deployed, m)) for m in MODALITIES if m in policy.modalities}
    accuracy = difference = None
    if measurer is not None and plan.refused:
        groups = [g for g in measurer.info("test").samples if set(Group(g).modalities) & set(policy.modalities)]
        before, after = (measurer.run(p, "test", limit=limit, groups=groups) for p in (policy, deployed))
        mine, theirs = before.accuracy(), after.accuracy()
        accuracy = {group: (mine[group], theirs[group]) for group in mine}
        difference = after.difference(before)
    return Export(plan, deployed, engine.render(deployed.stages, model, pixels), costs, accuracy, difference)


def _flops_of(measurer: Measurer) -> Flops:
    """FLOPs ratios on the test split's samples that hold a modality."""

    def flops(policy: Policy, modality: Modality) -> float:
        """Raises DataError: no sample holds the modality."""
        groups = [g for g in measurer.info("test").samples if Group(g).holds(modality)]
        mine = Policy(stages=policy.modality(modality))
        if not groups:
            raise DataError(f"the data holds no {modality}, which the policy compresses; --no-measure leaves it out")
        return float(measurer.cost(mine, "test", groups=groups).flops_ratio)

    return flops


def _best(stages: tuple[Stage, ...], modality: Modality, measurer: Measurer | None, limit: int | None) -> Stage | None:
    """The stand-in that is most accurate on the validation split; unmeasured, the first."""
    if measurer is None or len(stages) < 2:
        return stages[0] if stages else None
    groups = [g for g in measurer.info("val").samples if Group(g).holds(modality)]

    def mean(stage: Stage) -> float:
        return float(measurer.run(Policy(stages=(stage,)), "val", limit=limit, groups=groups).mean())

    return max(stages, key=mean)
