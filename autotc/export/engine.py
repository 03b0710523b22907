"""What a serving engine is: what it has built in, in which versions, and how its settings are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

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

    def takes_pixels(self, architecture: str | None) -> bool:
        """Whether it caps the pixels of images of a model; of any model where None."""
        return bool(self.pixel_models) and (architecture is None or architecture in self.pixel_models)

    def lacking(self, modality: str, architecture: str | None) -> str:
        """Why a modality stays uncompressed, where nothing can stand in for its stages."""
        where = f" in {architecture}" if architecture else ""
        if modality == "image" and self.takes_pixels(architecture):
            return (
                f"{self.title} prunes no image tokens{where}; it takes a cap on pixels (max_pixels), which --pixels N"
                " sets: how many every image has"
            )
        return f"{self.title} has nothing for it{where}"

    def elsewhere(self, stage: Stage, architecture: str | None) -> str:
        """What runs a stage on the engine that is not built into it, to be told behind a refusal; empty for nothing.

        Args:
            stage: that the engine has no setting for.
            architecture: class of the model to be served; None for any.
        """
        return ""

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
