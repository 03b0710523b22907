"""A served policy bound to its model: what both the processor of prompts and the model have to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autotc.lazy import PreTrainedConfig
from autotc.mechanisms import TEXT_SCORES, TOWER_SCORES, Score
from autotc.models import BoundAdapter, Item
from autotc.models.media import Shrink
from autotc.models.registry import bind_config
from autotc.policy import Policy
from autotc.runtime.steps import Step, Steps
from autotc.serve.served import ATTRIBUTE, ServedPolicy
from autotc.vocabulary import MODALITIES, Modality


@dataclass(frozen=True)
class Serving:
    """A policy in service.

    Attributes:
        served: the policy, and where it was read.
        bound: adapter and configuration of the model.
    """

    served: ServedPolicy
    bound: BoundAdapter

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Serving | None:
        """What a model's configuration says is served; None where nothing is."""
        told = getattr(config, ATTRIBUTE, None)
        if told is None:
            return None
        return cls(ServedPolicy(told["path"], told["text"]), bind_config(config, told["architecture"]))

    @cached_property
    def policy(self) -> Policy:
        """The policy."""
        return self.served.policy

    @cached_property
    def hash(self) -> str:
        """Of the policy's stages."""
        return self.served.hash

    @cached_property
    def steps(self) -> Steps:
        """Its reductions."""
        return Steps(self.policy, None)

    @cached_property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities it touches."""
        return tuple(modality for modality in MODALITIES if self.policy.modality(modality))

    @cached_property
    def shrinks(self) -> dict[Modality, Shrink]:
        """Modality -> its input stage."""
        return {
            stage.modality: Shrink(stage.input_mechanism(), stage.final_ratio)
            for stage in self.policy.stages
            if stage.location == "input"
        }

    def projector(self, modality: Modality) -> list[Step]:
        """The reductions behind a modality's tower, in order."""
        return self.steps.at("projector", modality)

    def reads_query(self, modality: Modality) -> bool:
        """Whether a modality's survivors depend on the prompt."""
        return any(TEXT_SCORES & {*step.mechanism.needs} for step in self.projector(modality))

    def tower_scores(self, modality: Modality) -> dict[int, set[Score]]:
        """Block of a modality's tower -> scores to take there."""
        out: dict[int, set[Score]] = {}
        for step in self.projector(modality):
            for need in TOWER_SCORES & {*step.mechanism.needs}:
                out.setdefault(self.bound.score_block(modality, need), set()).add(need)
        return out

    def left(self, item: Item) -> int:
        """Tokens that the policy leaves of an item behind its tower."""
        left = item.count
        for step in self.projector(item.modality):
            (left,) = step.targets([item], [left])
        return left

    def fields(self, modality: Modality) -> Fields:
        """Names of what the processor tells the model about each item of a modality."""
        return Fields(modality)


@dataclass(frozen=True)
class Fields:
    """Names of what the processor tells the model about an item, beside what the engine's own processor does.

    Attributes:
        modality: of the item.
    """

    modality: Modality

    @property
    def section(self) -> str:
        """(L,) long: ids of its stretch of the prompt, uncompressed."""
        return f"autotc_{self.modality}_section"

    @property
    def query(self) -> str:
        """(T,) long: ids of the query span; there where a mechanism reads it."""
        return f"autotc_{self.modality}_query"

    @property
    def original(self) -> str:
        """(7,) long: what it was before its input stage, as `encode_originals` writes it; there where it has one."""
        return f"autotc_{self.modality}_original"

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return self.section, self.query, self.original
