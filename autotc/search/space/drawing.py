"""From a space to policies and back: conditional parameters, define by run, and the parameters that draw a policy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from autotc.policy import Policy, Stage
from autotc.search.space.errors import SpaceError
from autotc.search.space.schedules import SCHEDULERS, Ratios, Schedule, to_percent
from autotc.search.space.trials import NamingTrial, Trial
from autotc.vocabulary import LOCATION_ORDER, Location, Modality

if TYPE_CHECKING:
    from autotc.search.space.model import Choice, ModalitySpace, SearchSpace

NONE = "none"
"""The choice of no (further) stage."""


def suggest_modality(space: SearchSpace, trial: Trial, modality: Modality) -> list[Stage]:
    """Draw the stages of one modality."""
    part = space.modalities[modality]
    stages: list[Stage] = []
    after: Location | None = None
    left: int | None = None
    for _ in range(part.max_stages):
        choices = later_choices(part, after)
        if not choices:
            break
        key = str(trial.suggest_categorical(_stage_name(modality, after), [NONE, *choices]))
        if key == NONE:
            break
        choice = choices[key]
        stage = _suggest_stage(space, trial, modality, choice, left)
        stages.append(stage)
        after, left = choice.location, to_percent(stage.final_ratio)
    return stages


def encode_modality(space: SearchSpace, modality: Modality, stages: tuple[Stage, ...]) -> dict[str, Any]:
    """The parameters with which `suggest_modality` draws these stages.

    Raises:
        SpaceError: they lie outside the space.
    """
    from optuna.trial import FixedTrial

    part = space.modalities[modality]
    if len(stages) > part.max_stages:
        raise SpaceError(f"{modality}: {len(stages)} stages; the space allows {part.max_stages}")
    params: dict[str, Any] = {}
    after: Location | None = None
    left: int | None = None
    for stage in stages:
        choice = space.choice(stage)
        if choice is None or choice.key not in later_choices(part, after):
            raise SpaceError(f"{stage.label()}: the space has no such choice here")
        params[_stage_name(modality, after)] = choice.key
        params.update(_encode_stage(space, stage, choice, left))
        after, left = choice.location, to_percent(stage.final_ratio)
    if len(stages) < part.max_stages and later_choices(part, after):
        params[_stage_name(modality, after)] = NONE
    trial = FixedTrial(params)
    outside = f"{Policy(stages=stages).label()}: outside the ratios or layers of the space"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a fixed value outside its range only warns
            drawn = suggest_modality(space, trial, modality)
    except (ValueError, UserWarning) as error:
        raise SpaceError(outside) from error
    if tuple(drawn) != stages or set(trial.distributions) != set(params):
        raise SpaceError(outside)
    return params


def parameter_names(space: SearchSpace) -> tuple[str, ...]:
    """Names of all parameters that drawing from a space may ask for, in a fixed order."""
    names: dict[str, None] = {}
    for modality, part in space.modalities.items():
        names[modality] = None
        for choice in part.choices:
            if part.max_stages > 1 and later_choices(part, choice.location):
                names[_stage_name(modality, choice.location)] = None
            for schedule in choice.schedules:
                trial = NamingTrial(schedule)
                _suggest_stage(space, trial, modality, choice, None)
                names.update(dict.fromkeys(trial.names))
    return tuple(names)


def later_choices(part: ModalitySpace, after: Location | None) -> dict[str, Choice]:
    """Choices at deeper locations than one, by key; all where it is None."""
    depth = -1 if after is None else LOCATION_ORDER[after]
    return {choice.key: choice for choice in part.choices if LOCATION_ORDER[choice.location] > depth}


def stage_key(stage: Stage | Choice) -> str:
    """Name of a kind of stage among the choices of a modality."""
    return f"{stage.mechanism}@{stage.location}" + ("" if stage.budget is None else " adaptive")


def _stage_name(modality: Modality, after: Location | None) -> str:
    """Name of the parameter that says which stage comes next.

    A categorical parameter's choices are fixed for a study, so each location passed has its own parameter.
    """
    return modality if after is None else f"{modality}.after-{after}"


def _ratios(space: SearchSpace, choice: Choice, left: int | None) -> Ratios:
    low, high = (to_percent(ratio) for ratio in choice.keep_ratio)
    return Ratios(low, high, space.grid(choice), left)


def _suggest_stage(space: SearchSpace, trial: Trial, modality: Modality, choice: Choice, left: int | None) -> Stage:
    if choice.depth is not None:
        raise SpaceError(f"{modality}.{choice.key}: depth: is of no model yet; SearchSpace.fit makes layers of it")
    prefix = f"{modality}.{choice.key}"
    schedule: Schedule = choice.schedules[0]
    if len(choice.schedules) > 1:
        schedule = trial.suggest_categorical(f"{prefix}.schedule", list(choice.schedules))
    # A single layer is chosen from the list as the file has it: a stored study's choices keep their order.
    layers = choice.layers if schedule == "single" else sorted(choice.layers)
    steps = SCHEDULERS[schedule].suggest(trial, prefix, layers, _ratios(space, choice, left))
    common: dict[str, Any] = {
        "modality": modality,
        "location": choice.location,
        "mechanism": choice.mechanism,
        "params": choice.params,
    }
    common["budget"] = choice.budget_at(min(steps, key=lambda layer: layer or 0))
    if len(steps) == 1:
        ((layer, percent),) = steps.items()
        return Stage(layer=layer, keep_ratio=percent / 100, **common)
    return Stage(layers={int(layer or 0): percent / 100 for layer, percent in steps.items()}, **common)


def _encode_stage(space: SearchSpace, stage: Stage, choice: Choice, left: int | None) -> dict[str, Any]:
    steps = {int(layer or 0): to_percent(ratio) for layer, ratio in stage.steps()}
    if any(abs(ratio * 100 - round(ratio * 100)) > 1e-6 for _, ratio in stage.steps()):
        raise SpaceError(f"{stage.label()}: a ratio is not on the space's grid")
    prefix = f"{stage.modality}.{choice.key}"
    for schedule in choice.schedules:
        found = SCHEDULERS[schedule].encode(steps, sorted(choice.layers), _ratios(space, choice, left))
        if found is not None:
            params = {f"{prefix}.{name}": value for name, value in found.items()}
            return {f"{prefix}.schedule": schedule, **params} if len(choice.schedules) > 1 else params
    raise SpaceError(
        f"{stage.label()}: outside the ratios, layers or schedules ({', '.join(choice.schedules)}) of the space"
    )
