"""Engines that have some mechanisms built in: in which versions, for which models, and how their form differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from autotc.export.engine import Engine
from autotc.policy import Stage
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class Break:
    """Versions in which a capability is there and does something else.

    Attributes:
        since: first of them.
        until: first version behind them.
        what: goes wrong, with the source.
    """

    since: str
    until: str
    what: str

    def __str__(self) -> str:
        return f"wrong from {self.since} to before {self.until}: {self.what}"


@dataclass(frozen=True)
class Versions:
    """Versions of an engine that have a capability.

    Attributes:
        since: first of them.
        breaks: those in which it is wrong, as far as is known.
    """

    since: str
    breaks: tuple[Break, ...] = ()

    @property
    def sound(self) -> str:
        """First version from which on no break is known."""
        return self.breaks[-1].until if self.breaks else self.since

    def __str__(self) -> str:
        return self.since if not self.breaks else f"{self.sound}; {'; '.join(map(str, self.breaks))}"


@dataclass(frozen=True)
class Capability:
    """A kind of stage that an engine has built in.

    Attributes:
        modality, location, mechanism: of the stage.
        architectures: class of the model -> versions of the engine that have it there.
        params: parameters with which the mechanism does what the engine does.
        free: parameters that may be set beside them.
        note: how the engine's form still differs; empty where nothing is known to.
    """

    modality: Modality
    location: Location
    mechanism: str
    architectures: Mapping[str, Versions]
    params: Mapping[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    note: str = ""

    def stage(self, keep_ratio: float) -> Stage:
        """A stage of this kind."""
        return Stage(
            modality=self.modality,
            location=self.location,
            layer=None,
            mechanism=self.mechanism,
            keep_ratio=keep_ratio,
            params=dict(self.params),
        )


class BuiltInEngine(Engine):
    """An engine as its source read at ``version``.

    Class attributes:
        capabilities: what it has built in; of each modality the first is the nearest to any other mechanism.
        pixel_models: classes of models whose image processor takes ``max_pixels`` through the engine.
    """

    capabilities: ClassVar[tuple[Capability, ...]]
    pixel_models: ClassVar[frozenset[str]] = frozenset()

    def refusal(
        self, stage: Stage, architecture: str | None, before: Sequence[Stage] = (), pixels: int | None = None
    ) -> str | None:
        if stage.location == "input":
            return self._refuse_input(stage, architecture, pixels)
        capability = self._find(stage)
        if capability is None:
            built_in = ", ".join(f"{c.mechanism} at the {c.location}" for c in self._capable(stage.modality, None))
            if not built_in and stage.modality == "image" and self._takes_pixels(architecture):
                built_in = "a cap on pixels, which downsample at the input becomes with --pixels N"
            return (
                f"{self.title} has no {stage.mechanism} at the {stage.location}; for {stage.modality} it has"
                f" {built_in or 'nothing'}"
            )
        if architecture is not None and architecture not in capability.architectures:
            known = ", ".join(capability.architectures)
            return f"{self.title} has {stage.mechanism} in {known}, not in {architecture}"
        if stage.budget is not None:
            return f"{self.title} prunes every item by one rate, where budget: adaptive gives each its own"
        settings = {**stage.build().params.model_dump(), **capability.params}
        usual = {**type(stage.build()).Params().model_dump(), **capability.params}
        wrong = [k for k, v in settings.items() if v != usual[k] and k not in capability.free]
        if wrong:
            return f"{self.title} has no setting for {wrong[0]}, which is {settings[wrong[0]]!r} here"
        pruned = [other for other in before if other.location != "input"]
        if any(other.modality == stage.modality for other in pruned):
            return f"{self.title} prunes {stage.modality} once, and {pruned[-1].mechanism} comes before"
        return None

    def _refuse_input(self, stage: Stage, architecture: str | None, pixels: int | None) -> str | None:
        if stage.modality != "image" or not self.pixel_models:
            return f"{self.title} has no setting that shrinks {stage.modality} by a ratio"
        if not self._takes_pixels(architecture):
            return f"{self.title} takes max_pixels for {', '.join(sorted(self.pixel_models))}, not {architecture}"
        if pixels is None:
            return f"{self.title} takes a cap in pixels, not a ratio; --pixels N says how many every image has"
        return None

    def as_run(self, stage: Stage) -> Stage:
        if stage.location == "input":
            return stage
        capability = self._find(stage)
        assert capability is not None  # `refusal` would have said so
        return Stage(
            modality=stage.modality,
            location=stage.location,
            layer=None,
            mechanism=stage.mechanism,
            keep_ratio=self.keep_ratio(stage.final_ratio),
            params={**stage.params, **capability.params},
        )

    def notes(self, stage: Stage, architecture: str | None) -> Iterator[str]:
        label = stage.label()
        if stage.location == "input":
            yield (
                f"{label}: a cap in pixels; images under it stay as they are, and sides are rounded down to the"
                " model's grid"
            )
            return
        run = self.as_run(stage)
        if run.keep_ratio != stage.keep_ratio:
            yield f"{label}: runs at keep ratio {run.keep_ratio:g}, the nearest that {self.title} can be told"
        if stage.build().params != run.build().params:
            changed = ", ".join(
                f"{key}: {value}" for key, value in run.params.items() if stage.params.get(key) != value
            )
            yield f"{label}: counts as {self.title} does, not as the policy does ({changed})"
        capability = self._find(stage)
        assert capability is not None
        label = f"{capability.modality} {capability.location} {capability.mechanism}"
        if capability.note:
            yield f"{label}: {capability.note}"
        if architecture is None:
            known = ", ".join(f"{name} (from {versions})" for name, versions in capability.architectures.items())
            yield f"{label}: {self.title} has it in {known}"
        else:
            yield f"{label}: in {architecture} from {self.title} {capability.architectures[architecture]}"

    def offers(
        self, modality: Modality, architecture: str | None, stages: Sequence[Stage], pixels: int | None
    ) -> tuple[Stage, ...]:
        capable = sorted(
            (c for c in self._capable(modality, architecture) if c.location != "input"),
            key=lambda c: all(c.mechanism != stage.mechanism for stage in stages),
        )
        if modality == "image" and pixels is not None and self._takes_pixels(architecture):
            capable.append(_PIXEL_CAP)
        return tuple(capability.stage(1.0) for capability in capable)

    def has(self) -> str:
        return ", ".join(f"{c.mechanism} at the {c.location} of {c.modality}" for c in self.capabilities)

    def lacking(self, modality: str, architecture: str | None) -> str:
        if modality == "image" and self._takes_pixels(architecture):
            where = f" in {architecture}" if architecture else ""
            return (
                f"{self.title} prunes no image tokens{where}; it takes a cap on pixels (max_pixels), which --pixels N"
                " sets: how many every image has"
            )
        return super().lacking(modality, architecture)

    def most_stages(self, most: int) -> int:
        return 1

    def _capable(self, modality: Modality, architecture: str | None) -> tuple[Capability, ...]:
        """What it has built in for a modality of a model; of any model where None."""
        return tuple(
            c
            for c in self.capabilities
            if c.modality == modality and (architecture is None or architecture in c.architectures)
        )

    def _takes_pixels(self, architecture: str | None) -> bool:
        """Whether it caps the pixels of images of a model; of any model where None."""
        return bool(self.pixel_models) and (architecture is None or architecture in self.pixel_models)

    def _find(self, stage: Stage) -> Capability | None:
        """The capability that a stage is an instance of."""
        for capability in self.capabilities:
            same = (capability.modality, capability.location, capability.mechanism)
            if same == (stage.modality, stage.location, stage.mechanism):
                return capability
        return None


_PIXEL_CAP = Capability("image", "input", "downsample", {})
"""Images shrunk to a cap on their pixels, which needs no support by the model's class beyond its processor's."""
