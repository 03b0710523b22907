"""What a study starts with: published methods and controls, each at the keep ratio that meets the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.presets import PRESETS, Preset
from autotc.search.budget import Budget, Costs
from autotc.search.space import SearchSpace
from autotc.solve import last_item
from autotc.vocabulary import Location, Modality

CONTROLS: dict[str, Location] = {"random": "projector", "uniform_stride": "projector", "downsample": "input"}
"""Mechanisms that every study compares with, and where they stand."""

Locations = Mapping[str, Sequence[Location]]


def seed_policies(
    space: SearchSpace, depths: Depths, locations: Locations, costs: Costs, budget: Budget
) -> list[tuple[str, Policy]]:
    """(origin, policy) to evaluate first: controls on every modality, then a policy for each preset.

    A preset acts on every modality it takes, on each with the largest keep ratio whose own samples meet the budget.
    Modalities it does not take get the other presets in turn, since results on one modality do not depend on what is
    done to another. A preset that cannot meet the budget is returned alone at its lowest ratio, to be recorded as too
    costly. A space whose policies are all for one engine starts with none.
    """
    out: list[tuple[str, Policy]] = []
    if space.deployable_on is not None:
        return out  # they would stand on the front, and could not be served
    for name, location in CONTROLS.items():
        stages: list[Stage] = []
        for modality in space.modalities:
            control = _control(name, location, modality, locations)
            if control is not None:
                found, _ = _at_budget(control, modality, space, depths, locations, costs, budget)
                stages.extend(found)
        if stages:
            out.append((f"control:{name}", Policy.of(stages)))
    fitting: dict[str, dict[str, tuple[Stage, ...]]] = {modality: {} for modality in space.modalities}
    costly: list[tuple[str, Policy]] = []
    presets_left = {name: preset for name, preset in PRESETS.items() if name not in CONTROLS}
    for name, preset in presets_left.items():
        for modality, part in space.modalities.items():
            wanted = part.presets is None or name in part.presets
            if not wanted or modality not in preset.modalities:
                continue
            stages_at, met = _at_budget(preset, modality, space, depths, locations, costs, budget)
            if met:
                fitting[modality][name] = stages_at
            elif stages_at:
                costly.append((f"preset:{name}", Policy.of(stages_at)))
    turn = dict.fromkeys(fitting, 0)
    for name in presets_left:
        if not any(name in presets for presets in fitting.values()):
            continue
        chosen: list[Stage] = []
        for taker, presets in fitting.items():
            if name in presets:
                chosen.extend(presets[name])
            elif presets:
                chosen.extend(list(presets.values())[turn[taker] % len(presets)])
                turn[taker] += 1
        out.append((f"preset:{name}", Policy.of(chosen)))
    return out + costly


class _Control:
    """A control mechanism in the shape of a preset."""

    def __init__(self, name: str, location: Location) -> None:
        self.name, self.location = name, location

    def build(self, modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        return (Stage(modality=modality, location=self.location, layer=None, mechanism=self.name, keep_ratio=keep),)


def _control(name: str, location: Location, modality: Modality, locations: Locations) -> _Control | None:
    mechanism = MECHANISMS.get(name)
    if mechanism is None or modality not in mechanism.modalities or location not in locations.get(modality, ()):
        return None
    return _Control(name, location)


def _at_budget(
    preset: Preset | _Control,
    modality: Modality,
    space: SearchSpace,
    depths: Depths,
    locations: Locations,
    costs: Costs,
    budget: Budget,
) -> tuple[tuple[Stage, ...], bool]:
    """The preset's stages at the largest keep ratio on the grid that meets the modality's budget.

    Returns:
        The stages and whether they meet it; at the lowest legal ratio where none does; none where none is legal.
    """
    target, alone = budget.of(modality), costs(UNCOMPRESSED).flops_ratio_by
    grid = space.grid()
    legal: list[tuple[Stage, ...]] = []
    for percent in range(grid, 100, grid):
        try:
            stages = preset.build(modality, depths, percent / 100)
            policy = Policy.of(stages)
            check_rules(policy, depths, locations)
        except PolicyError:
            continue
        legal.append(policy.stages)
    if not legal:
        return (), False
    group = modality if modality in alone else None
    try:
        # Costs rise with the ratio.
        largest = last_item(legal, lambda stages: target.met(costs(Policy(stages=stages), group=group)))
    except PolicyError:
        return (), False
    return (legal[0], False) if largest is None else (largest, True)
