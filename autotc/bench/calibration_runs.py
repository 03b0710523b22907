"""What a calibration runs: every kind of work to learn from, and random policies to check the predictions on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from autotc.conflicts.rules import check_rules
from autotc.errors import PolicyError
from autotc.mechanisms import build_mechanism
from autotc.models import bind
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.vocabulary import LOCATION_ORDER, Location, Modality

CalibrationRun = tuple[Modality, int, Policy]
"""Modality of a request, its media tokens, and what it runs under."""


def training_runs(model: nn.Module, mechanisms: Sequence[str], tokens: int) -> list[CalibrationRun]:
    """What is run to learn from: sizes without a policy, the control and each mechanism everywhere they can stand.

    Args:
        model: of a supported family.
        mechanisms: to learn.
        tokens: media tokens of a usual request.

    Raises:
        PolicyError: a mechanism is unknown.
    """
    bound = bind(model)
    layers = bound.depths.decoder
    sizes = [max(8, round(tokens * share)) for share in (0.25, 0.5, 1.0, 2.0)]
    out: list[CalibrationRun] = [(m, size, UNCOMPRESSED) for m in bound.offers for size in sizes]
    for modality, location in placements(model, "random"):
        depths = (1, max(1, layers // 2)) if location == "decoder" else (0,)
        for depth in depths:
            for size, keep in ((sizes[1], 0.5), (sizes[2], 0.2), (sizes[2], 0.7), (sizes[3], 0.4)):
                out.append((modality, size, Policy.of([_stage("random", modality, location, depth, keep)])))
    for name in dict.fromkeys(mechanisms):
        if name == "random":
            continue
        for modality, location in placements(model, name):
            for size, keep in ((sizes[1], 0.5), (sizes[2], 0.2), (sizes[3], 0.6)):
                offset = build_mechanism(name).scored_offset() if location == "decoder" else None
                layer = bound.depths.nearest_scored(int(location == "decoder"), offset)
                stage = _stage(name, modality, location, layer, keep)
                out.append((modality, size, Policy.of([stage])))
    return out


def held_out_runs(
    model: nn.Module, mechanisms: Sequence[str], tokens: int, number: int, rng: np.random.Generator
) -> list[CalibrationRun]:
    """Random policies of one or two stages on requests of random sizes; arguments as of `training_runs`."""
    bound = bind(model)
    depths = bound.depths
    names = sorted({"random", *mechanisms})
    spots = [(name, *where) for name in names for where in placements(model, name)]
    out: list[CalibrationRun] = []
    while len(out) < number:
        modality = rng.choice(sorted({spot[1] for spot in spots}))
        offered = [spot for spot in spots if spot[1] == modality]
        chosen = [offered[i] for i in rng.choice(len(offered), size=int(rng.integers(1, 3)), replace=False)]
        chosen.sort(key=lambda spot: LOCATION_ORDER[spot[2]])
        keeps = sorted(rng.uniform(0.15, 0.9, len(chosen)).round(2), reverse=True)
        limits = {"encoder": depths.encoder[modality], "decoder": depths.decoder}
        stages = []
        for (name, _, location), keep in zip(chosen, keeps, strict=True):
            layer = int(rng.integers(location == "decoder", limits.get(location, 2)))
            stages.append(_stage(name, modality, location, layer, float(keep)))
        policy = Policy(stages=tuple(stages))
        try:
            bound.validate(policy)
            check_rules(policy, depths)
        except PolicyError:
            continue
        out.append((modality, int(rng.integers(max(1, tokens // 2), 2 * tokens)), policy))
    return out


def placements(model: nn.Module, name: str) -> list[tuple[Modality, Location]]:
    """Where the model can run a mechanism, input stages left out: they leave nothing to do at prefill.

    Raises:
        PolicyError: the mechanism is unknown.
    """
    mechanism = build_mechanism(name)
    if mechanism.companion is not None:  # it needs another modality's stage beside it
        return []
    return [(modality, location) for modality, location in bind(model).placements(mechanism) if location != "input"]


def _stage(name: str, modality: Modality, location: Location, layer: int, keep: float) -> Stage:
    depth = layer if location in ("encoder", "decoder") else None
    return Stage(modality=modality, location=location, layer=depth, mechanism=name, keep_ratio=keep)
