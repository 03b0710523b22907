"""A policy on an engine: which of its stages the engine expresses, which it does not, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from autotc.export.engine import Capability, Engine
from autotc.policy import Policy, Stage


@dataclass(frozen=True)
class Refusal:
    """A stage that the engine cannot express, and why."""

    stage: Stage
    reason: str


@dataclass(frozen=True)
class Plan:
    """What becomes of a policy on an engine.

    Attributes:
        engine: for which.
        architecture: class of the model to be served; None for any.
        deployed: the stages that it expresses, as it runs them.
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
        """Whether every stage is expressed."""
        return not self.refused

    def noted(self, stages: Iterable[Stage]) -> Plan:
        """The plan with what is to know of stages that stand in for refused ones."""
        more: list[str] = []
        for stage in stages:
            capability = self.engine.find(stage)
            if stage.location == "input":
                more.append(_pixel_note(stage))
            elif capability is not None:
                more += _to_know(capability, self.engine, self.architecture)
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
            refused.append(Refusal(stage, reason + engine.elsewhere(stage, architecture)))
            continue
        if stage.location == "input":
            deployed.append(stage)
            notes.append(_pixel_note(stage))
            continue
        capability = engine.find(stage)
        assert capability is not None  # _refuse would have said so
        deployed.append(engine.as_run(stage, capability))
        notes += _differences(stage, deployed[-1], capability, engine, architecture)
    rest = Policy(stages=tuple(deployed), model=policy.model)
    return Plan(engine, architecture, rest, tuple(refused), tuple(notes), pixels)


def _pixel_note(stage: Stage) -> str:
    return (
        f"{stage.label()}: a cap in pixels; images under it stay as they are, and sides are rounded down to the model's"
        " grid"
    )


def _refuse(
    stage: Stage, engine: Engine, architecture: str | None, before: Sequence[Stage], pixels: int | None
) -> str | None:
    """Why the engine cannot express a stage, or None."""
    if stage.location == "input":
        return _refuse_input(stage, engine, architecture, pixels)
    capability = engine.find(stage)
    if capability is None:
        built_in = ", ".join(f"{c.mechanism} at the {c.location}" for c in engine.capable(stage.modality, None))
        if not built_in and stage.modality == "image" and engine.takes_pixels(architecture):
            built_in = "a cap on pixels, which downsample at the input becomes with --pixels N"
        return (
            f"{engine.title} has no {stage.mechanism} at the {stage.location}; for {stage.modality} it has"
            f" {built_in or 'nothing'}"
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
        known = ", ".join(f"{name} (from {versions})" for name, versions in capability.architectures.items())
        yield f"{label}: {engine.title} has it in {known}"
    else:
        yield f"{label}: in {architecture} from {engine.title} {capability.architectures[architecture]}"
