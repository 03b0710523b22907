"""What a serving engine can express, and a policy as its settings: which stages fit, which do not, and why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from autotc.policy import Policy, Stage
from autotc.solve import last_step
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class Capability:
    """A kind of stage that an engine has built in.

    Attributes:
        modality, location, mechanism: of the stage.
        architectures: class of the model -> first version of the engine that has it there.
        params: parameters with which the mechanism does what the engine does.
        free: parameters that may be set beside them.
        note: how the engine's form still differs; empty where nothing is known to.
    """

    modality: Modality
    location: Location
    mechanism: str
    architectures: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Deployment:
    """An engine's settings.

    Attributes:
        command: words of a command line that serves the model; empty where the engine is a library.
        python: the call that does the same from Python.
        config: contents of a configuration file.
        environment: variables to set.
    """

    command: tuple[str, ...]
    python: str
    config: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A stage that the engine cannot express, and why."""

    stage: Stage
    reason: str


class Engine(ABC):
    """One serving engine, as its source read at ``version``.

    Class attributes:
        name: on the command line.
        title: in texts.
        version: that was read.
        capabilities: what it has built in; of each modality the first is the nearest to any other mechanism.
        pixel_models: classes of models whose image processor takes ``max_pixels`` through the engine.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    capabilities: ClassVar[tuple[Capability, ...]]
    pixel_models: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def render(self, stages: Sequence[Stage], model: str, pixels: int | None) -> Deployment:
        """The settings of stages that it can express.

        Args:
            stages: as `plan_export` left them, at most one at the input and one elsewhere for each modality.
            model: to be served.
            pixels: of every image; for input stages.
        """

    def keep_ratio(self, keep_ratio: float) -> float:
        """The nearest ratio that its settings can say."""
        return keep_ratio

    def capable(self, modality: Modality, architecture: str | None) -> tuple[Capability, ...]:
        """What it has built in for a modality of a model; of any model where None."""
        return tuple(
            c
            for c in self.capabilities
            if c.modality == modality and (architecture is None or architecture in c.architectures)
        )

    def find(self, stage: Stage) -> Capability | None:
        """The capability that a stage is an instance of."""
        for capability in self.capabilities:
            same = (capability.modality, capability.location, capability.mechanism)
            if same == (stage.modality, stage.location, stage.mechanism):
                return capability
        return None

    def as_run(self, stage: Stage, capability: Capability) -> Stage:
        """The stage as the engine runs it."""
        return Stage(
            modality=stage.modality,
            location=stage.location,
            layer=None,
            mechanism=stage.mechanism,
            keep_ratio=self.keep_ratio(stage.final_ratio),
            params={**stage.params, **capability.params},
        )


@dataclass(frozen=True)
class Plan:
    """What becomes of a policy on an engine.

    Attributes:
        engine: for which.
        architecture: class of the model to be served; None for any.
        deployed: the stages that it expresses, as it runs them.
        refused: the others.
        notes: how what runs differs from what the policy says, and what else to know.
    """

    engine: Engine
    architecture: str | None
    deployed: Policy
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]

    @property
    def expressible(self) -> bool:
        """Whether every stage is expressed."""
        return not self.refused

    def noted(self, stages: Iterable[Stage]) -> Plan:
        """The plan with what is to know of stages that stand in for refused ones."""
        known = (self.engine.find(stage) for stage in stages)
        more = [n for c in known if c is not None for n in _to_know(c, self.engine, self.architecture)]
        return replace(self, notes=(*self.notes, *more))


def plan_export(policy: Policy, engine: Engine, architecture: str | None = None, *, pixels: int | None = None) -> Plan:
    """Which stages of a policy an engine can express.

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
        reason = _refuse(stage, engine, architecture, deployed, pixels)
        if reason is not None:
            refused.append(Refusal(stage, reason))
            continue
        if stage.location == "input":
            deployed.append(stage)
            notes.append(
                f"{stage.label()}: a cap in pixels; images under it stay as they are, and sides are rounded down to the"
                " model's grid"
            )
            continue
        capability = engine.find(stage)
        assert capability is not None  # _refuse would have said so
        deployed.append(engine.as_run(stage, capability))
        notes += _differences(stage, deployed[-1], capability, engine, architecture)
    rest = Policy(stages=tuple(deployed), model=policy.model)
    return Plan(engine, architecture, rest, tuple(refused), tuple(notes))


def _refuse(
    stage: Stage, engine: Engine, architecture: str | None, before: Sequence[Stage], pixels: int | None
) -> str | None:
    """Why the engine cannot express a stage, or None."""
    if stage.location == "input":
        return _refuse_input(stage, engine, architecture, pixels)
    capability = engine.find(stage)
    if capability is None:
        built_in = ", ".join(f"{c.mechanism} at the {c.location}" for c in engine.capable(stage.modality, None))
        return f"{engine.title} has no {stage.mechanism} at the {stage.location}; for {stage.modality} it has" + (
            f" {built_in}" if built_in else " nothing"
        )
    if architecture is not None and architecture not in capability.architectures:
        known = ", ".join(capability.architectures)
        return f"{engine.title} has {stage.mechanism} in {known}, not in {architecture}"
    settings = {**stage.build().params.model_dump(), **capability.params}
    usual = {**type(stage.build()).Params().model_dump(), **capability.params}
    wrong = [k for k, v in settings.items() if v != usual[k] and k not in capability.free]
    if wrong:
        return f"{engine.title} has no setting for {wrong[0]}, which is {settings[wrong[0]]!r} here"
    pruned = [other for other in before if other.location != "input"]
    if any(other.modality == stage.modality for other in pruned):
        return f"{engine.title} prunes {stage.modality} once, and {pruned[-1].mechanism} comes before"
    return None


def _refuse_input(stage: Stage, engine: Engine, architecture: str | None, pixels: int | None) -> str | None:
    if stage.modality != "image" or not engine.pixel_models:
        return f"{engine.title} has no setting that shrinks {stage.modality} by a ratio"
    if architecture is not None and architecture not in engine.pixel_models:
        return f"{engine.title} takes max_pixels for {', '.join(sorted(engine.pixel_models))}, not {architecture}"
    if pixels is None:
        return f"{engine.title} takes a cap in pixels, not a ratio; --pixels N says how many every image has"
    return None


def _differences(
    stage: Stage, run: Stage, capability: Capability, engine: Engine, architecture: str | None
) -> Iterator[str]:
    """How a stage as the engine runs it differs from what the policy says."""
    label = stage.label()
    if run.keep_ratio != stage.keep_ratio:
        yield f"{label}: runs at keep ratio {run.keep_ratio:g}, the nearest that {engine.title} can be told"
    if stage.build().params != run.build().params:
        settings = ", ".join(f"{key}: {value}" for key, value in run.params.items() if stage.params.get(key) != value)
        yield f"{label}: counts as {engine.title} does, not as the policy does ({settings})"
    yield from _to_know(capability, engine, architecture)


def _to_know(capability: Capability, engine: Engine, architecture: str | None) -> Iterator[str]:
    """How an engine's form differs, and where it has it."""
    label = f"{capability.modality} {capability.location} {capability.mechanism}"
    if capability.note:
        yield f"{label}: {capability.note}"
    if architecture is None:
        known = ", ".join(f"{name} (from {since})" for name, since in capability.architectures.items())
        yield f"{label}: {engine.title} has it in {known}"
    else:
        yield f"{label}: in {architecture} from {engine.title} {capability.architectures[architecture]}"


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
        out[modality] = tuple(_matched(plan.engine, capability, target, flops) for capability in capable)
    return out


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
