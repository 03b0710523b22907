"""What a serving engine is: which stages it runs, what it offers for others, and how its settings are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from autotc.policy import Policy, Stage
from autotc.vocabulary import Modality


@dataclass(frozen=True)
class Deployment:
    """An engine's settings.

    Attributes:
        command: words of a command line that serves the model; empty where the engine is a library.
        python: the call that does the same from Python; empty where there is none.
        config: contents of a configuration file.
        environment: variables to set.
    """

    command: tuple[str, ...]
    python: str
    config: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What settings are written for.

    Attributes:
        model: to be served.
        pixels: of every image that will be asked about; None where it is not known.
        policy_file: that holds the policy which is served, for an engine that reads policies.
    """

    model: str
    pixels: int | None = None
    policy_file: str = "POLICY.yaml"


class Engine(ABC):
    """One serving engine.

    Class attributes:
        name: on the command line.
        title: in texts.
        version: that was read or run.
        origin: how it is known, in texts.
        space: search space, a shipped one's name, of what it may run.
        reads_policies: whether it is told a policy's file.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    origin: ClassVar[str] = "its source read at"
    space: ClassVar[str] = "deployable"
    reads_policies: ClassVar[bool] = False

    @abstractmethod
    def refusal(
        self, stage: Stage, architecture: str | None, before: Sequence[Stage] = (), pixels: int | None = None
    ) -> str | None:
        """Why it cannot run a stage; None where it can.

        Args:
            stage: of a policy.
            architecture: class of the model to be served; None for any.
            before: stages that it runs and that come before.
            pixels: as in `Target`.
        """

    @abstractmethod
    def as_run(self, stage: Stage) -> Stage:
        """A stage that it does not refuse, as it runs it."""

    @abstractmethod
    def notes(self, stage: Stage, architecture: str | None) -> Iterator[str]:
        """How a stage that it does not refuse differs as it runs it, and what else to know."""

    @abstractmethod
    def offers(
        self, modality: Modality, architecture: str | None, stages: Sequence[Stage], pixels: int | None
    ) -> tuple[Stage, ...]:
        """What can stand in for the stages of a modality, the nearest first; keep ratios are yet to be found.

        Args:
            modality: of the stages.
            architecture: as in `refusal`.
            stages: of the policy, some of which it refuses.
            pixels: as in `Target`.
        """

    @abstractmethod
    def render(self, policy: Policy, target: Target) -> Deployment:
        """The settings of a policy whose stages it runs.

        Args:
            policy: as `plan_export` left it.
            target: what is served.
        """

    @abstractmethod
    def has(self) -> str:
        """What it runs, in a few words."""

    def lacking(self, modality: str, architecture: str | None) -> str:
        """Why a modality stays uncompressed, where nothing can stand in for its stages."""
        return f"{self.title} has nothing for it{f' in {architecture}' if architecture else ''}"

    def keep_ratio(self, keep_ratio: float) -> float:
        """The nearest ratio that its settings can say."""
        return keep_ratio

    def most_stages(self, most: int) -> int:
        """Longest stack of a modality, of a space's."""
        return most
