"""The lowest FLOPs ratio that a location can reach."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.cost.prefill import prefill_cost
from autotc.cost.request import Request
from autotc.models import BoundAdapter
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.vocabulary import Location, Modality


def policy_floor(bound: BoundAdapter, modality: Modality, location: Location, requests: Mapping[Request, int]) -> float:
    """Lowest FLOPs ratio a location can reach on these requests: one token an item, as early as it can act.

    At the decoder that is layer 1, the first at which scores of a layer before exist; dropping before layer 0 is what a
    projector stage does.

    Args:
        bound: of the model.
        modality, location: what is compressed, and where.
        requests: shapes with how often each occurs; those without the modality are left out.
    """
    layer = {"encoder": 0, "decoder": 1}.get(location)
    mechanism = "downsample" if location == "input" else "random"
    stage = Stage(modality=modality, location=location, layer=layer, mechanism=mechanism, keep_ratio=1e-9)
    least = base = 0.0
    for request, times in requests.items():
        if any(item.modality == modality for item in request.items):
            least += times * prefill_cost(bound, Policy(stages=(stage,)), [request]).total
            base += times * prefill_cost(bound, UNCOMPRESSED, [request]).total
    return least / base
