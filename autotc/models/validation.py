"""What may stand where on a model: the model's side. Rules on stacks of stages are in `autotc.conflicts.rules`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.mechanisms import BLOCK_SCORES, LAYER_SCORES, MechanismBase
from autotc.policy import ModelReference, Policy, Stage
from autotc.vocabulary import Location, Modality

if TYPE_CHECKING:
    from autotc.models.bound import BoundAdapter


@dataclass(frozen=True)
class Refusal:
    """Why a stage cannot stand where it was put.

    Attributes:
        field: of the stage that is wrong.
        reason: the value given, and what would be right.
    """

    field: Literal["location", "mechanism", "layer", "budget"]
    reason: str


def placement_refusal(
    bound: BoundAdapter, mechanism: MechanismBase | type[MechanismBase], modality: Modality, location: Location
) -> Refusal | None:
    """Why a mechanism cannot act on a modality at a location of a model, whatever the layer; None where it can."""
    family, offered = bound.family, bound.offers.get(modality, ())
    if location not in offered:
        reason = bound.adapter.refused.get(modality, {}).get(location)
        why = "" if reason is None else f" ({reason})"
        return Refusal(
            "location",
            f"{family} offers no {location} stage for {modality}{why}; it offers {', '.join(offered) or 'none'}",
        )
    scores = bound.scores(modality, location)
    absent = [need for need in mechanism.needs if need not in scores]
    if absent:
        return Refusal(
            "mechanism",
            f"{mechanism.name} needs {absent[0]}, which {family} does not have for {modality} at the {location}",
        )
    return None


def stage_refusal(bound: BoundAdapter, stage: Stage) -> Refusal | None:
    """Why a stage cannot stand where it is on a model; None where it can."""
    mechanism = stage.build()
    if stage.budget is not None and not stage.budget.fitted:
        return Refusal(
            "budget",
            "adaptive given, and not fitted to this model; autotc presets FILE --calibrate 64 --out NEW fits it",
        )
    refusal = placement_refusal(bound, mechanism, stage.modality, stage.location)
    if refusal is not None:
        return refusal
    depths = bound.depths
    limit = {"encoder": depths.encoder.get(stage.modality, 0), "decoder": depths.decoder}.get(stage.location)
    for layer, _ in stage.steps():
        if stage.location == "decoder" and layer is not None and depths.standing <= layer < depths.decoder:
            where = depths.standing
            right = f"0 to {where - 1} are right"
            return Refusal("layer", f"{layer} given; layers from {where} on take their keys from earlier ones; {right}")
        if limit is not None and layer is not None and layer >= limit:
            return Refusal("layer", f"{layer} given; the {stage.location} has layers 0 to {limit - 1}")
        if stage.location == "decoder" and layer == 0 and mechanism.score_source == "previous":
            lacking = [need for need in mechanism.needs if need in LAYER_SCORES | BLOCK_SCORES]
            if lacking:
                return Refusal(
                    "layer",
                    f"0 given; {stage.mechanism} needs {lacking[0]} of the layer before, so 1 or deeper is right",
                )
        if stage.location == "decoder" and layer is not None:
            reason = recurrent_refusal(depths, mechanism, layer)
            if reason is not None:
                return Refusal("layer", f"{layer} given; {reason}")
    return None


def recurrent_refusal(depths: Depths, mechanism: MechanismBase, layer: int) -> str | None:
    """Why a decoder stage has no attention to read in front of a layer, and which is the nearest; None where it has."""
    offset = mechanism.read_offset
    if offset is None or layer + offset not in depths.recurrent:
        return None
    need = next(need for need in mechanism.needs if need in LAYER_SCORES)
    whose = "layer itself" if not offset else f"layer before it ({layer + offset})"
    nearest = depths.nearest_scored(layer, offset)
    if nearest == layer:
        return f"{mechanism.name} reads {need}, and no layer of this decoder has attention"
    return f"{mechanism.name} reads {need} of the {whose}, which is recurrent; {nearest} is the nearest that is right"


def check_reference(expected: ModelReference, model: ModelReference) -> None:
    """See that what a policy says of its model holds of a model.

    Raises:
        PolicyError: the policy is for another model.
    """
    if expected.architecture != model.architecture:
        raise PolicyError(
            f"model.architecture: the policy is for {expected.architecture}, the model is a {model.architecture}"
        )
    if expected.fingerprint not in (None, model.fingerprint):
        raise PolicyError(
            f"model.fingerprint: the policy is for {expected.fingerprint}, the model's configuration is"
            f" {model.fingerprint}; search again on this model, or remove the fingerprint"
        )


def validate(bound: BoundAdapter, policy: Policy) -> None:
    """Check that a policy is for a model and fits its depth.

    Raises:
        PolicyError: naming field, value and what would be right.
    """
    if policy.model is not None:
        check_reference(policy.model, bound.reference)
    for i, stage in enumerate(policy.stages):
        refusal = stage_refusal(bound, stage)
        if refusal is not None:
            raise PolicyError(f"stages.{i}.{refusal.field}: {refusal.reason}")
