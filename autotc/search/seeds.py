"""What a study starts with: published methods and controls, each at the keep ratio that meets the budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from autotc.conflicts.rules import check_rules
from autotc.depths import Depths
from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.presets import PRESETS, Preset
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Engine
from autotc.search.space import SearchSpace
from autotc.solve import last_item
from autotc.vocabulary import Location, Modality

CONTROLS: dict[str, Location] = {"random": "projector", "uniform_stride": "projector", "downsample": "input"}
"""Mechanisms that every study compares with, and where they stand."""

Locations = Mapping[str, Sequence[Location]]


class Waiting:
    """Controls and presets in line.

    Args:
        seeds: (origin, policy) of each, in order.
    """

    def __init__(self, seeds: Iterable[tuple[str, Policy]]) -> None:
        self._line = list(seeds)

    def next(self, engine: Engine) -> tuple[str, Policy] | None:
        """The next that has not been tried; those of which another worker runs a part stay in line."""
        staying: list[tuple[str, Policy]] = []
        found = None
        while self._line and found is None:
            seed = self._line.pop(0)
            if engine.promised(seed[1]):
                staying.append(seed)
            elif seed[1].content_hash() not in engine.tried:
                found = seed
        self._line = [*staying, *self._line]
        return found


def seed_policies(
    space: SearchSpace, depths: Depths, locations: Locations, costs: Costs, budget: Budget
) -> list[tuple[str, Policy]]:
    """(origin, policy) to evaluate first: controls on every modality, then a policy for each preset.

    A preset acts on every modality it takes, on each with the largest keep ratio whose own samples meet the budget.
    Modalities it does not take get the other presets in turn, since results on one modality do not depend on what is
    done to another. A preset that cannot meet the budget is returned alone at its lowest ratio, to be recorded as too
    costly. Where a space's policies are all for one engine, what it cannot run is left out.
    """
    at = _AtBudget(space, depths, locations, costs, budget)
    fitting: dict[str, dict[str, tuple[Stage, ...]]] = {modality: {} for modality in space.modalities}
    costly: list[tuple[str, Policy]] = []
    presets = {name: preset for name, preset in PRESETS.items() if name not in CONTROLS}
    for name, preset in presets.items():
        for modality, part in space.modalities.items():
            wanted = part.presets is None or name in part.presets
            if not wanted or modality not in preset.modalities:
                continue
            stages, met = at(preset, modality)
            if not _servable(space, stages):
                continue
            if met:
                fitting[modality][name] = stages
            elif stages:
                costly.append((f"preset:{name}", Policy.of(stages)))
    return [*_controls(at), *_side_by_side(list(presets), fitting), *costly]


def _controls(at: _AtBudget) -> Iterator[tuple[str, Policy]]:
    """Each control on every modality that it takes."""
    for name, location in CONTROLS.items():
        stages: list[Stage] = []
        for modality in at.space.modalities:
            control = _control(name, location, modality, at.locations)
            if control is not None:
                found = at(control, modality)[0]
                stages.extend(found if _servable(at.space, found) else ())
        if stages:
            yield f"control:{name}", Policy.of(stages)


def _servable(space: SearchSpace, stages: Sequence[Stage]) -> bool:
    """Whether the engine that a space is for runs stages: others would stand on the front, and could not be served."""
    return space.deployable_on is None or all(space.choice(stage) is not None for stage in stages)


def _side_by_side(
    names: Sequence[str], fitting: Mapping[str, Mapping[str, tuple[Stage, ...]]]
) -> Iterator[tuple[str, Policy]]:
    """A policy for each preset that fits anywhere; modalities it does not take get the others in turn.

    Args:
        names: of the presets, in order.
        fitting: modality -> preset -> its stages at the budget.
    """
    turn = dict.fromkeys(fitting, 0)
    for name in names:
        if not any(name in presets for presets in fitting.values()):
            continue
        stages: list[Stage] = []
        for modality, presets in fitting.items():
            if name in presets:
                stages.extend(presets[name])
            elif presets:
                stages.extend(list(presets.values())[turn[modality] % len(presets)])
                turn[modality] += 1
        yield f"preset:{name}", Policy.of(stages)


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


class _AtBudget:
    """Finds a preset's stages at the largest keep ratio on the grid that meets the modality's budget."""

    def __init__(self, space: SearchSpace, depths: Depths, locations: Locations, costs: Costs, budget: Budget) -> None:
        self.space, self.locations = space, locations
        self._depths, self._costs, self._budget = depths, costs, budget

    def __call__(self, preset: Preset | _Control, modality: Modality) -> tuple[tuple[Stage, ...], bool]:
        """The stages, and whether they meet the budget.

        At the lowest legal ratio where none does; no stages where none is legal.
        """
        legal = list(self._legal(preset, modality))
        if not legal:
            return (), False
        target = self._budget.of(modality)
        group = modality if modality in self._costs(UNCOMPRESSED).flops_ratio_by else None
        try:
            # Costs rise with the ratio.
            largest = last_item(legal, lambda stages: target.met(self._costs(Policy(stages=stages), group=group)))
        except PolicyError:
            return (), False
        return (legal[0], False) if largest is None else (largest, True)

    def _legal(self, preset: Preset | _Control, modality: Modality) -> Iterator[tuple[Stage, ...]]:
        """Stages at every ratio of the grid at which no rule refuses them, lowest first."""
        grid = self.space.grid()
        for percent in range(grid, 100, grid):
            try:
                policy = Policy.of(preset.build(modality, self._depths, percent / 100))
                check_rules(policy, self._depths, self.locations)
            except PolicyError:
                continue
            yield policy.stages
