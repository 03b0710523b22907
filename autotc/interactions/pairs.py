"""Pairs of stages: how users name them, the default ones, those of a search space, and which of them are legal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import AutotcError, PolicyError, quote
from autotc.evaluate.base import ObservableEvaluator
from autotc.mechanisms import build_mechanism
from autotc.names import nearest
from autotc.placement import Placement
from autotc.records.interaction import Keeps, Pair
from autotc.search.space import SearchSpace
from autotc.vocabulary import LOCATION_ORDER, Location, Modality

DECODER_LAYER = 2
"""Where a decoder stage stands whose layer is not given: FastV's."""
DEFAULT_PLACEMENTS = (
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
_NAME = re.compile(r"(?P<mechanism>\w+)@(?P<location>[a-z]+)(\[(?P<layer>\d+)\])?")


def parse_placement(text: str, depths: Depths) -> Placement:
    """``mechanism@location`` or ``mechanism@location[layer]``.

    Without a layer a tower stage stands after the block in the middle, a decoder stage before layer 2.

    Raises:
        PolicyError: it is written otherwise, or the mechanism is unknown or cannot stand there.
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        raise PolicyError(
            f"pairs: {text!r} given; mechanism@location is right, e.g. divprune@projector or fastv@decoder[2], with"
            f" a location of {', '.join(LOCATION_ORDER)}"
        )
    if match["location"] not in LOCATION_ORDER:
        hint = nearest(match["location"], LOCATION_ORDER)
        raise PolicyError(f"pairs: {quote(text)}: unknown location {quote(match['location'])}; {hint}")
    location: Location = match["location"]
    mechanism = build_mechanism(match["mechanism"])
    if location not in mechanism.locations:
        raise PolicyError(f"pairs: {text!r} given; {match['mechanism']} can stand at {', '.join(mechanism.locations)}")
    layer = None if match["layer"] is None else int(match["layer"])
    if layer is None and location == "decoder":
        layer = depths.nearest_scored(min(DECODER_LAYER, depths.decoder - 1), mechanism.scored_offset())
    if layer is None and location == "encoder":
        layer = min((depth // 2 for depth in depths.encoder.values() if depth), default=0)
    if layer is not None and location in ("input", "projector"):
        raise PolicyError(f"pairs: {text!r} given; there are no layers at the {location}")
    return Placement(match["mechanism"], location, layer)


def parse_pairs(texts: Iterable[str], depths: Depths) -> list[tuple[Placement, Placement]]:
    """``a@location+b@location`` of each text.

    Raises:
        PolicyError: one is written otherwise.
    """
    out = []
    for text in texts:
        names = text.split("+")
        if len(names) != 2:
            raise PolicyError(
                f"pairs: {text!r} given; two stages joined by + are right, e.g. divprune@projector+fastv@decoder"
            )
        out.append((parse_placement(names[0], depths), parse_placement(names[1], depths)))
    return out


def default_placements(depths: Depths) -> list[Placement]:
    """`DEFAULT_PLACEMENTS` on a model."""
    return [parse_placement(name, depths) for name in DEFAULT_PLACEMENTS]


def space_placements(space: SearchSpace, modality: Modality) -> list[Placement]:
    """The choices of a search space on a modality, each at the middle one of its layers."""
    choices = space.modalities[modality].choices if modality in space.modalities else ()
    return [
        Placement(c.mechanism, c.location, sorted(c.layers)[len(c.layers) // 2] if c.layers else None, c.params)
        for c in choices
    ]


def check_pair(evaluator: ObservableEvaluator, pair: Pair) -> None:
    """Refuse a pair for which no evaluation is needed.

    Raises:
        ConflictError: a rule refuses the stack.
        PolicyError: it is no stack, or cannot be compared at equal cost.
    """
    stack = pair.stack()
    if stack.adaptive:
        names = ", ".join(s.mechanism for s in stack.stages if s.build().adaptive)
        raise PolicyError(f"pairs: {names} sets its own count, so that no cost can be given to it; leave it out")
    check_rules(stack, evaluator.depths, evaluator.locations)


def legal_pairs(
    evaluator: ObservableEvaluator,
    placements: Sequence[Placement],
    modalities: Sequence[Modality],
    keeps: Sequence[Keeps],
) -> Iterator[Pair]:
    """Every pair of placements that no rule refuses, on every modality that both take, at every setting of ratios."""
    for modality in modalities:
        for first in placements:
            for second in placements:
                if not (first.takes(modality) and second.takes(modality)):
                    continue
                for setting in keeps:
                    pair = Pair(first, second, modality, setting)
                    try:
                        check_pair(evaluator, pair)
                    except AutotcError:
                        continue
                    yield pair
