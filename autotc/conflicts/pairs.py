"""Pairs of stages: how they are named, the stack they form, and each of them alone at the stack's cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import AutotcError, PolicyError
from autotc.evaluate.model import ModelEvaluator
from autotc.mechanisms import MECHANISMS, build_mechanism
from autotc.policy import Policy, Stage
from autotc.vocabulary import LOCATION_ORDER, Location, Modality, Split

_GRID = 1000
"""Keep ratios of a stage that is moved onto a cost are of this resolution."""
DECODER_LAYER = 2
"""Where a decoder stage stands whose layer is not given: FastV's."""
_NAME = re.compile(r"(?P<mechanism>\w+)@(?P<location>[a-z]+)(\[(?P<layer>\d+)\])?")

Keeps = tuple[float, float]
"""Keep ratios of the first and the second stage of a pair, both of the uncompressed count."""


@dataclass(frozen=True)
class Place:
    """A mechanism and where it stands: a stage without its modality and its ratio.

    Attributes:
        mechanism, location, layer: as in `Stage`.
        params: of the mechanism.
    """

    mechanism: str
    location: Location
    layer: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def label(self) -> str:
        """As users write it, e.g. ``fastv@decoder[2]``."""
        return f"{self.mechanism}@{self.location}" + ("" if self.layer is None else f"[{self.layer}]")

    def takes(self, modality: Modality) -> bool:
        """Whether it acts on a modality."""
        return modality in MECHANISMS[self.mechanism].modalities

    def stage(self, modality: Modality, keep_ratio: float) -> Stage:
        """The stage that it is on a modality at a ratio.

        Raises:
            PolicyError: there is no such stage.
        """
        return Stage(
            modality=modality,
            location=self.location,
            layer=self.layer,
            mechanism=self.mechanism,
            keep_ratio=keep_ratio,
            params=dict(self.params),
        )

    @classmethod
    def parse(cls, text: str, depths: Depths) -> Place:
        """``mechanism@location`` or ``mechanism@location[layer]``.

        Without a layer a tower stage stands after the block in the middle, a decoder stage before layer 2.

        Raises:
            PolicyError: it is written otherwise, or the mechanism is unknown or cannot stand there.
        """
        found = _NAME.fullmatch(text.strip())
        if found is None or found["location"] not in LOCATION_ORDER:
            raise PolicyError(
                f"pairs: {text!r} given; mechanism@location is right, e.g. divprune@projector or fastv@decoder[2], with"
                f" a location of {', '.join(LOCATION_ORDER)}"
            )
        location: Location = found["location"]
        mechanism = build_mechanism(found["mechanism"])
        if location not in mechanism.locations:
            raise PolicyError(
                f"pairs: {text!r} given; {found['mechanism']} can stand at {', '.join(mechanism.locations)}"
            )
        layer = None if found["layer"] is None else int(found["layer"])
        if layer is None and location == "decoder":
            layer = min(DECODER_LAYER, depths.decoder - 1)
        if layer is None and location == "encoder":
            layer = min((depth // 2 for depth in depths.encoder.values() if depth), default=0)
        if layer is not None and location in ("input", "projector"):
            raise PolicyError(f"pairs: {text!r} given; there are no layers at the {location}")
        return cls(found["mechanism"], location, layer)


@dataclass(frozen=True)
class Pair:
    """Two places, the first before the second, on one modality at two ratios."""

    first: Place
    second: Place
    modality: Modality
    keeps: Keeps

    @property
    def label(self) -> str:
        """E.g. ``image cdpruner@projector:0.5 + fastv@decoder[2]:0.25``."""
        return f"{self.modality} {self.first.label}:{self.keeps[0]:g} + {self.second.label}:{self.keeps[1]:g}"

    def stages(self) -> tuple[Stage, Stage]:
        """Both as stages.

        Raises:
            PolicyError: one cannot be a stage.
        """
        return (
            self.first.stage(self.modality, self.keeps[0]),
            self.second.stage(self.modality, self.keeps[1]),
        )

    def stack(self) -> Policy:
        """Both, one after the other.

        Raises:
            PolicyError: one cannot be a stage, or the second acts before the first.
        """
        return Policy(stages=self.stages())

    def check(self, evaluator: ModelEvaluator) -> None:
        """Refuse what no evaluation is needed for.

        Raises:
            ConflictError: a rule refuses the stack.
            PolicyError: it is no stack, or cannot be compared at equal cost.
        """
        stack = self.stack()
        if stack.adaptive:
            names = ", ".join(s.mechanism for s in stack.stages if s.build().adaptive)
            raise PolicyError(f"pairs: {names} sets its own count, so that no cost can be given to it; leave it out")
        locations = {str(modality): places for modality, places in evaluator.locations.items()}
        check_rules(stack, evaluator.depths, locations)


def parse_pairs(text: Iterable[str], depths: Depths) -> list[tuple[Place, Place]]:
    """``a@place+b@place`` of each text.

    Raises:
        PolicyError: one is written otherwise.
    """
    out = []
    for part in text:
        names = part.split("+")
        if len(names) != 2:
            raise PolicyError(
                f"pairs: {part!r} given; two stages joined by + are right, e.g. divprune@projector+fastv@decoder"
            )
        out.append((Place.parse(names[0], depths), Place.parse(names[1], depths)))
    return out


DEFAULT_PLACES = (
    "tome@encoder",
    "avg_pool@projector",
    "divprune@projector",
    "visionzip@projector",
    "cdpruner@projector",
    "dart@decoder",
    "fastv@decoder",
    "text_attention@decoder",
)
"""Stages of the default set of pairs: every family at encoder, projector and decoder, as far as it can stand there."""


def default_places(depths: Depths) -> list[Place]:
    """`DEFAULT_PLACES` on a model."""
    return [Place.parse(name, depths) for name in DEFAULT_PLACES]


def legal_pairs(
    evaluator: ModelEvaluator, places: Sequence[Place], modalities: Sequence[Modality], keeps: Sequence[Keeps]
) -> Iterator[Pair]:
    """Every pair of places that no rule refuses, on every modality that both take, at every setting of ratios."""
    for modality in modalities:
        for first in places:
            for second in places:
                if not (first.takes(modality) and second.takes(modality)):
                    continue
                for setting in keeps:
                    pair = Pair(first, second, modality, setting)
                    try:
                        pair.check(evaluator)
                    except AutotcError:
                        continue
                    yield pair


@dataclass(frozen=True)
class Alone:
    """One stage of a stack with its ratios moved onto the stack's cost.

    Attributes:
        policy: the stage alone.
        flops_ratio: its cost, of the modality's samples.
        reached: whether it can cost as little as the stack; where it cannot, it is at its floor.
    """

    policy: Policy
    flops_ratio: float
    reached: bool


def flops_ratio(evaluator: ModelEvaluator, policy: Policy, split: Split, group: str) -> float:
    """FLOPs ratio of a policy over the samples of one modality group."""
    return evaluator.cost(policy, split, groups=[group]).flops_ratio_by[group]


def with_final_ratio(stage: Stage, percent: float) -> Stage:
    """A stage with its last keep ratio replaced, and those before it by the same factor, none above 1."""
    steps = stage.steps()
    factor = percent / steps[-1][1]
    if stage.layers is None:
        return stage.model_copy(update={"keep_ratio": percent})
    ratios = [max(percent, min(1.0, round(ratio * factor, 3))) for _, ratio in steps]
    return stage.model_copy(update={"layers": dict(zip(sorted(stage.layers), ratios, strict=True))})


def alone_at(evaluator: ModelEvaluator, stage: Stage, target: float, split: Split, group: str | None = None) -> Alone:
    """A stage alone, with its ratios moved so that its cost comes as near to a target as its counts of tokens allow.

    Args:
        evaluator, split, group: what costs are of; by default the samples with the stage's modality alone.
        stage: to move; its count must not be its own choice.
        target: FLOPs ratio.
    """

    def at(step: int) -> tuple[Policy, float]:
        policy = Policy(stages=(with_final_ratio(stage, step / _GRID),))
        return policy, flops_ratio(evaluator, policy, split, group or stage.modality)

    low, high = 1, _GRID
    below, above = at(low), at(high)
    if below[1] > target:
        return Alone(*below, False)
    if above[1] <= target:
        return Alone(*above, True)
    # Costs rise with ratios in steps of one token; the bracket ends on both sides of one.
    while high - low > 1:
        middle = (low + high) // 2
        tried = at(middle)
        if tried[1] <= target:
            low, below = middle, tried
        else:
            high, above = middle, tried
    nearest = min(below, above, key=lambda found: abs(found[1] - target))
    return Alone(*nearest, True)
