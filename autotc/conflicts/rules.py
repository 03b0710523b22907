"""Structural conflicts: what can be refused by reading a policy, before anything runs. One small function per rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from autotc.depths import Depths
from autotc.errors import ConflictError
from autotc.mechanisms import BLOCK_SCORES, LAYER_SCORES, SCORES_AT, TEXT_SCORES
from autotc.policy import Policy, Stage
from autotc.vocabulary import LOCATIONS, Location, Modality

Offered = Mapping[Modality, Sequence[Location]] | Mapping[str, Sequence[Location]]
"""Modality -> locations that a model offers."""


@dataclass(frozen=True)
class Context:
    """What the rules know beside the policy; None where it is not known, and rules that need it then pass.

    Attributes:
        depths: how many layers the model has.
        locations: modality -> locations the model offers.
        has_text: whether requests have a query span.
    """

    depths: Depths | None = None
    locations: Offered | None = None
    has_text: bool = True


Rule = Callable[[Policy, Context], str | None]
"""Returns what conflicts and what would be right, or None."""


def _stacks(policy: Policy) -> Iterator[tuple[Stage, ...]]:
    for modality in policy.modalities:
        yield policy.modality(modality)


def _pairs(policy: Policy) -> Iterator[tuple[Stage, Stage]]:
    for stack in _stacks(policy):
        yield from combinations(stack, 2)


def layer_out_of_range(policy: Policy, context: Context) -> str | None:
    """A layer that the decoder or the modality's tower does not have."""
    if context.depths is None:
        return None
    for stage in policy.stages:
        if stage.location not in ("encoder", "decoder"):
            continue
        decoder = stage.location == "decoder"
        depth = context.depths.decoder if decoder else context.depths.encoder.get(stage.modality, 0)
        for layer, _ in stage.steps():
            if decoder and layer is not None and context.depths.standing <= layer < depth:
                where = context.depths.standing
                return (
                    f"{stage.label()}: layer {layer} given, layers from {where} on take their keys from earlier ones;"
                    f" 0 to {where - 1} are allowed"
                )
            if layer is not None and layer >= depth:
                allowed = f"0 to {depth - 1} are allowed" if depth else "it has none"
                what = "the decoder" if decoder else f"the {stage.modality} tower"
                return f"{stage.label()}: layer {layer} given, {what} has {depth} layers; {allowed}"
    return None


def location_unsupported(policy: Policy, context: Context) -> str | None:
    """A location that the model does not offer for the modality."""
    if context.locations is None:
        return None
    for stage in policy.stages:
        offered = context.locations.get(stage.modality, ())
        if stage.location not in offered:
            allowed = ", ".join(offered) or "none"
            return f"{stage.label()}: this model does not offer it for {stage.modality}; locations allowed: {allowed}"
    return None


def grid_lost(policy: Policy, context: Context) -> str | None:
    """A stage that reads the full grid, after one that dropped tokens. Input stages leave a smaller full grid."""
    for first, second in _pairs(policy):
        if second.build().uses_grid and first.location != "input":
            return f"{second.label()}: cannot see its grid after {first.label()}; put {second.mechanism} first"
    return None


def keeps_more_than_left(policy: Policy, context: Context) -> str | None:
    """A later stage that keeps at least as much as an earlier one left, and so does nothing (ratios are of N0)."""
    for first, second in _pairs(policy):
        kept = second.steps()[0][1]
        if kept >= first.final_ratio:
            return (
                f"{second.label()}: keeps {kept:g} of N0 where {first.label()} left {first.final_ratio:g}; "
                f"a ratio under {first.final_ratio:g} is needed"
            )
    return None


def same_criterion_twice(policy: Policy, context: Context) -> str | None:
    """Two stages of a stack that rank by the same criterion: the second repeats the first.

    One mechanism with two settings ranks by two criteria (a published stage-wise balance).
    """
    for first, second in _pairs(policy):
        criterion = first.build().criterion
        retuned = first.mechanism == second.mechanism and first.params != second.params
        if second.build().criterion == criterion and not retuned:
            return f"{first.label()} and {second.label()}: both rank by {criterion}; use two different criteria"
    return None


def _no_scores(stage: Stage) -> str | None:
    mechanism = stage.build()
    needs = set(mechanism.needs)
    if stage.location == "input" and needs:
        return f"nothing has run before the encoder, so {', '.join(sorted(needs))} cannot exist"
    # No query token exists inside a tower; that is the rule no_text's.
    missing = needs - SCORES_AT[stage.location] - (TEXT_SCORES if stage.location == "encoder" else set())
    if missing:
        where = [place for place in LOCATIONS if missing <= SCORES_AT[place]]
        return f"{', '.join(sorted(missing))} cannot be had there; put it at the {' or '.join(where)}"
    read = needs & (LAYER_SCORES | BLOCK_SCORES)
    if stage.location == "decoder" and mechanism.score_source == "previous" and stage.steps()[0][0] == 0 and read:
        return f"no layer has computed {', '.join(sorted(read))} before layer 0; use layer 1 or deeper"
    return None


def no_scores(policy: Policy, context: Context) -> str | None:
    """A stage that asks for scores which do not exist where it stands."""
    for stage in policy.stages:
        reason = _no_scores(stage)
        if reason:
            return f"{stage.label()}: {reason}"
    return None


def recurrent_layer(policy: Policy, context: Context) -> str | None:
    """A stage that reads attention of a decoder layer that has a recurrent state in its place."""
    depths = context.depths
    if depths is None:
        return None
    for stage in policy.stages:
        offset = stage.build().read_offset
        if stage.location != "decoder" or offset is None:
            continue
        for layer, _ in stage.steps():
            if layer is not None and layer + offset in depths.recurrent:
                right = depths.nearest_scored(layer, offset)
                return f"{stage.label()}: layer {layer + offset} is recurrent and has no attention to read; use {right}"
    return None


def no_text(policy: Policy, context: Context) -> str | None:
    """A query stage where no text is known: inside a tower, or in requests without a query span."""
    for stage in policy.stages:
        if not TEXT_SCORES & set(stage.build().needs):
            continue
        if stage.location == "encoder":
            return f"{stage.label()}: towers see no text; put it at the projector or decoder"
        if not context.has_text:
            return f"{stage.label()}: the requests hold no text to query with; use a mechanism without a query"
    return None


def single_stage_per_place(policy: Policy, context: Context) -> str | None:
    """Two stages of a modality at the same location and layer."""
    for first, second in _pairs(policy):
        shared = {layer for layer, _ in first.steps()} & {layer for layer, _ in second.steps()}
        if first.location == second.location and shared:
            return f"{first.label()} and {second.label()}: two stages at one place; move or drop one"
    return None


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        layer_out_of_range,
        location_unsupported,
        single_stage_per_place,
        no_scores,
        recurrent_layer,
        no_text,
        grid_lost,
        same_criterion_twice,
        keeps_more_than_left,
    )
}
"""Rules by name, in the order they are asked; the first that refuses names the refusal."""


def check_rules(
    policy: Policy,
    depths: Depths | None = None,
    locations: Offered | None = None,
    *,
    has_text: bool = True,
) -> None:
    """Refuse a policy whose stages conflict by rule.

    Args:
        policy: what to look at.
        depths: of the model, for rules on layers.
        locations: modality -> locations the model offers.
        has_text: whether requests have a query span.

    Raises:
        ConflictError: with the rule's name, what conflicts and what would be right.
    """
    context = Context(depths, locations, has_text)
    for name, rule in RULES.items():
        reason = rule(policy, context)
        if reason:
            raise ConflictError(name, reason)
