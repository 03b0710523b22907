"""What a preset is: the parts of a published method, and how they are placed on a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS, Score
from autotc.policy import Stage
from autotc.vocabulary import MODALITIES, Family, Location, Modality

PublishedLayer = tuple[int, int] | int | float | Callable[[float, int], int] | None
"""Where a part is published to stand: (layer, of so many), a block counted from the last (-1), a share of a tower's
blocks, or a function of keep and depth."""


@dataclass(frozen=True)
class Part:
    """One step of a published method.

    Attributes:
        mechanism, location: what acts where.
        keep: published keep ratio after this part, of the item's uncompressed count.
        layer: where it stands at encoder and decoder. A published layer moves to the same share of a model of another
            depth, at least layer 1; a share of a tower counts blocks from 0 to the last.
        params: of the mechanism.
        modalities: it acts on; None for all that the mechanism takes.
        fixed: keep ratio that it takes in any case, where ``keep`` sets the layer alone.
    """

    mechanism: str
    location: Location
    keep: float = 0.5
    layer: PublishedLayer = None
    params: Mapping[str, object] = field(default_factory=dict)
    modalities: tuple[Modality, ...] | None = None
    fixed: float | None = None

    def takes(self, modality: Modality) -> bool:
        """Whether it acts on a modality."""
        if self.modalities is not None:
            return modality in self.modalities
        return modality in MECHANISMS[self.mechanism].modalities

    def place(self, modality: Modality, depths: Depths, keep: float) -> int | None:
        """Its layer on a model.

        Raises:
            PolicyError: the model has no tower for the modality.
        """
        if self.layer is None:
            return None
        depth = depths.decoder if self.location == "decoder" else depths.encoder.get(modality, 0)
        if not depth:
            raise PolicyError(f"location: {self.mechanism} acts in the {modality} tower, and the model has none")
        if callable(self.layer):
            return max(0, min(depth - 1, self.layer(keep, depth)))
        if isinstance(self.layer, tuple):
            published, of = self.layer
            return max(1, min(depth - 1, int(published * depth / of + 0.5)))
        if isinstance(self.layer, int):
            total = depth + depths.unread.get(modality, 0)
            return max(0, min(depth - 1, total + self.layer))
        return max(0, min(depth - 1, int(self.layer * (depth - 1) + 0.5)))


@dataclass(frozen=True)
class Preset:
    """A published method, ready to be placed on a model.

    Attributes:
        name: as users call it.
        parts: its steps, in order.
        paper: arXiv number, or None for a control.
        flash_safe: whether the published form runs without attention weights, hence under FlashAttention. The form here
            always does: the runtime computes just the rows that are needed.
        adaptation: how it differs from the published form, in one line; None where it does not.
        modalities: it takes; by default all that each of its parts takes.
        own: model family -> its steps there, where the published form for that family differs in more than depth.
    """

    name: str
    parts: tuple[Part, ...]
    paper: str | None = None
    flash_safe: bool = True
    adaptation: str | None = None
    modalities: tuple[Modality, ...] = ()
    own: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.modalities:
            some = any if any(part.modalities is not None for part in self.parts) else all
            taken = tuple(m for m in MODALITIES if some(part.takes(m) for part in self.parts))
            object.__setattr__(self, "modalities", taken)

    @property
    def family(self) -> Family:
        """Of its first part."""
        return MECHANISMS[self.parts[0].mechanism].family

    @property
    def locations(self) -> tuple[Location, ...]:
        """Locations of its parts, in order."""
        return tuple(dict.fromkeys(part.location for part in self.parts))

    @property
    def needs(self) -> tuple[Score, ...]:
        """Scores that its parts ask for."""
        return tuple(dict.fromkeys(need for part in self.parts for need in MECHANISMS[part.mechanism].needs))

    def parts_of(self, modality: Modality, family: str | None = None) -> tuple[Part, ...]:
        """The parts that act on a modality of a model of a family; None for those of the families without their own."""
        parts = self.parts if family is None else self.own.get(family, self.parts)
        return tuple(part for part in parts if part.takes(modality))

    def published(self, modality: Modality, family: str | None = None) -> float:
        """Published keep ratio after the last part."""
        return self.parts_of(modality, family)[-1].keep

    def build(self, modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        """Its stages.

        Args:
            modality: what to compress.
            depths: of the model.
            keep: in (0, 1], the keep ratio after the last part; the published ratios of all parts are raised to one
                exponent, such that the last becomes this.

        Raises:
            PolicyError: the modality is not taken, the ratio is out of range, or the model has no such place.
        """
        if modality not in self.modalities:
            raise PolicyError(
                f"modality: {self.name} does not take {modality!r}; it takes {', '.join(self.modalities)}"
            )
        if not 0 < keep <= 1:
            raise PolicyError(f"keep_ratio: {keep!r} given; a ratio in (0, 1] is allowed")
        parts = self.parts_of(modality, depths.family)
        exponent = math.log(keep) / math.log(parts[-1].keep)
        stages: list[Stage] = []
        before = parts[0]
        for part in parts:
            last_part = part is parts[-1]
            ratio = part.fixed or (keep if last_part else max(_LEAST, round(part.keep**exponent, 6)))
            layer = part.place(modality, depths, keep)
            decoder, offset = part.location == "decoder", MECHANISMS[part.mechanism].scored_offset()
            if layer is not None and decoder:
                layer = depths.nearest_scored(layer, offset)
            last = stages[-1] if stages else None
            same_place = last is not None and last.location == part.location
            if layer is None or last is None or not same_place:
                before = part
                stages.append(_stage(modality, part, {layer: ratio}))
                continue
            steps = dict(last.steps())
            if last.mechanism == part.mechanism and last.params == dict(part.params):
                # On a shallow model two steps may fall on one layer: the later one is what remains.
                stages[-1] = _stage(modality, part, steps | {layer: ratio})
                continue
            after = max(key for key in steps if key is not None) + 1
            depth = depths.decoder if part.location == "decoder" else depths.encoder[modality]
            later = [k for k in range(max(layer, after), depth) if not decoder or depths.nearest_scored(k, offset) == k]
            if not later:
                # As above: of two steps on the last layer, the later one remains.
                ahead: dict[int | None, float] = {k: kept for k, kept in steps.items() if k is not None and k < layer}
                if not ahead:
                    raise PolicyError(f"layer: {self.name} needs more than {depth} layers at the {part.location}")
                stages[-1], later = _stage(modality, before, ahead), [layer]
            before = part
            stages.append(_stage(modality, part, {later[0]: ratio}))
        return tuple(stages)


_LEAST = 1e-6
"""Keep ratio that leaves one token of an item: where ratios are raised to a high power, none becomes 0."""


def middle(keep: float, depth: int) -> int:
    """The block at half of a tower's depth, where removing all at once saves as much as a little after every block."""
    return max(0, depth // 2 - 1)


def _stage(modality: Modality, part: Part, steps: Mapping[int | None, float]) -> Stage:
    """The stage of a part, at one layer or at several."""
    make = partial(Stage, modality=modality, location=part.location, mechanism=part.mechanism, params=dict(part.params))
    if len(steps) == 1:
        ((layer, ratio),) = steps.items()
        return make(layer=layer, keep_ratio=ratio)
    return make(layers={layer: ratio for layer, ratio in steps.items() if layer is not None})
