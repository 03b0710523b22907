"""Search spaces: which stages may be combined, as YAML in and Optuna define-by-run suggestions out, and back."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autotc.errors import PolicyError
from autotc.export import Engine
from autotc.mechanisms import MODALITIES, Location, Modality, build_mechanism
from autotc.models.base import Depths
from autotc.policy import LOCATION_ORDER, Policy, Stage, parse, read_mapping, read_text

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

NONE = "none"
"""The choice of no (further) stage."""


class SpaceError(PolicyError):
    """A search space is malformed, or a policy lies outside it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_Strict):
    """A kind of stage that may be chosen.

    Attributes:
        mechanism, location, params: of the stage.
        layers: layers it may act at (encoder and decoder), counted from 0.
        keep_ratio: lowest and highest ratio, both multiples of the step.
        step: grid of its ratios; None takes the space's.
        schedules: ``single`` (one layer) and, at the decoder, ``step`` (two or three layers, falling ratios).
    """

    mechanism: str
    location: Location
    layers: tuple[int, ...] = ()
    keep_ratio: tuple[float, float]
    step: float | None = None
    schedules: tuple[Literal["single", "step"], ...] = ("single",)
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name among the choices of a modality, e.g. ``tome@encoder``."""
        return f"{self.mechanism}@{self.location}"

    def combos(self) -> tuple[str, ...]:
        """Layers of step schedules, e.g. ``1,3``."""
        layers = sorted(self.layers)
        return tuple(",".join(map(str, c)) for n in (2, 3) for c in combinations(layers, n))

    def wrong(self, modality: Modality, step: float) -> str | None:
        """``place: what is wrong``, or None."""
        mechanism = build_mechanism(self.mechanism, self.params)
        if self.location not in mechanism.locations:
            allowed = ", ".join(mechanism.locations)
            return f"location: {self.mechanism} cannot act at {self.location!r}; it can at {allowed}"
        if modality not in mechanism.modalities:
            return f"mechanism: {self.mechanism} does not take {modality!r}; it takes {', '.join(mechanism.modalities)}"
        layered = self.location in ("encoder", "decoder")
        if layered and not self.layers:
            return f"layers: missing; a choice at the {self.location} needs at least one"
        if not layered and self.layers:
            return f"layers: {list(self.layers)} given; a choice at the {self.location} has none"
        if len(set(self.layers)) < len(self.layers) or any(layer < 0 for layer in self.layers):
            return f"layers: {list(self.layers)} given; distinct layers from 0 are allowed"
        low, high = self.keep_ratio
        if not 0 < low <= high <= 1:
            return f"keep_ratio: [{low:g}, {high:g}] given; 0 < low <= high <= 1 is allowed"
        if self.step is not None and not _whole_percent(self.step):
            return f"step: {self.step:g} given; a multiple of 0.01 in [0.01, 0.5] is allowed"
        grid = _percent(self.step or step)
        for ratio in self.keep_ratio:
            if abs(ratio * 100 - round(ratio * 100)) > 1e-6 or _percent(ratio) % grid:
                return f"keep_ratio: {ratio:g} given; multiples of the step {grid / 100:g} are allowed"
        if not self.schedules or len(set(self.schedules)) < len(self.schedules):
            return "schedules: empty or repeated; list single, step or both"
        if "step" in self.schedules and (self.location != "decoder" or len(self.layers) < 2):
            return "schedules: step needs the decoder and at least two layers"
        return None


class ModalitySpace(_Strict):
    """What may be done to one modality.

    Attributes:
        max_stages: longest stack.
        choices: kinds of stages; a stack takes them at ever deeper locations.
        presets: names of presets that seed a study; None takes every preset of the modality.
    """

    max_stages: int = Field(2, ge=1, le=4)
    choices: tuple[Choice, ...]
    presets: tuple[str, ...] | None = None


class SearchSpace(_Strict):
    """All policies that a search may propose.

    Attributes:
        version: of the file format, 1.
        step: grid of keep ratios, a multiple of 0.01, so that ratios are whole percents and encode exactly.
        deployable_on: engine that all its policies are for; a study then starts with none from outside it.
        modalities: modality -> what may be done to it.
    """

    version: Literal[1] = 1
    step: float = 0.05
    deployable_on: str | None = None
    modalities: dict[Modality, ModalitySpace]

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpace:
        if not _whole_percent(self.step):
            raise SpaceError(f"step: {self.step:g} given; a multiple of 0.01 in [0.01, 0.5] is allowed")
        if not self.modalities:
            raise SpaceError(f"modalities: empty; name at least one of {', '.join(MODALITIES)}")
        for modality, space in self.modalities.items():
            where = f"modalities.{modality}"
            if not space.choices:
                raise SpaceError(f"{where}.choices: empty; at least one is needed")
            keys: set[str] = set()
            for i, choice in enumerate(space.choices):
                try:
                    wrong = choice.wrong(modality, self.step)
                except PolicyError as error:
                    wrong = str(error)
                if wrong is None and choice.key in keys:
                    wrong = f"{choice.key} is listed twice; merge the two"
                if wrong is not None:
                    raise SpaceError(f"{where}.choices.{i}.{wrong}")
                keys.add(choice.key)
            _check_presets(space, modality, where)
        return self

    @classmethod
    def from_yaml(cls, text: str, where: str = "space") -> SearchSpace:
        """Parse YAML text.

        Raises:
            SpaceError: one line naming file, place, value and what would be right.
        """
        data = read_mapping(text, where, "version and modalities", SpaceError)
        try:
            return parse(cls, data, where)
        except SpaceError:
            raise
        except PolicyError as error:
            raise SpaceError(str(error)) from error

    @classmethod
    def load(cls, path: str | Path) -> SearchSpace:
        """Read a search space file.

        Raises:
            SpaceError: the file is missing, a directory, empty or wrong.
        """
        text = read_text(path, "a search space file (.yaml)", SpaceError)
        return cls.from_yaml(text, str(path))

    def to_yaml(self) -> str:
        """YAML text; equal spaces give equal text."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=120)

    def fit(self, modalities: Iterable[str], depths: Depths) -> SearchSpace:
        """This space for a model and data: modalities the data does not hold are left out, layers are checked.

        Raises:
            SpaceError: no modality is left, or a layer is out of the model's range.
        """
        held = set(modalities)
        left = {name: space for name, space in self.modalities.items() if name in held}
        if not left:
            given, there = ", ".join(self.modalities), ", ".join(sorted(held))
            raise SpaceError(f"modalities: {given} given; the data holds {there}")
        for modality, space in left.items():
            for i, choice in enumerate(space.choices):
                decoder = choice.location == "decoder"
                depth = depths.decoder if decoder else depths.encoder.get(modality, 0)
                for layer in choice.layers:
                    if layer >= depth:
                        what = "decoder" if decoder else f"{modality} tower"
                        raise SpaceError(
                            f"modalities.{modality}.choices.{i}.layers: {layer} given; the {what} has {depth} layers, "
                            f"0 to {depth - 1} are allowed"
                        )
        return self.model_copy(update={"modalities": left})

    def deployable(self, engine: Engine, architecture: str | None = None) -> SearchSpace:
        """What an engine can run of this space, with the parameters that it runs it with.

        Modalities for which nothing is left are left out, and so stay uncompressed.

        Args:
            engine: that policies are for.
            architecture: class of the model to be served; None for any.

        Raises:
            SpaceError: nothing is left.
        """
        left: dict[Modality, ModalitySpace] = {}
        for modality, space in self.modalities.items():
            capable = {(c.mechanism, c.location): c for c in engine.capable(modality, architecture)}
            choices = [
                choice.model_copy(update={"params": {**choice.params, **capable[key].params}})
                for choice in space.choices
                if (key := (choice.mechanism, choice.location)) in capable
            ]
            if choices:
                left[modality] = ModalitySpace(max_stages=1, choices=tuple(choices), presets=())
        if not left:
            has = ", ".join(f"{c.mechanism} at the {c.location} of {c.modality}" for c in engine.capabilities)
            where = f" of {architecture}" if architecture else ""
            raise SpaceError(f"deployable_on: {engine.title} can run nothing of this space{where}; it has {has}")
        return SearchSpace(version=self.version, step=self.step, deployable_on=engine.name, modalities=left)

    def choice(self, stage: Stage) -> Choice | None:
        """The choice that a stage is an instance of, or None."""
        space = self.modalities.get(stage.modality)
        for choice in space.choices if space else ():
            if choice.key == f"{stage.mechanism}@{stage.location}" and choice.params == stage.params:
                return choice
        return None

    def grid(self, choice: Choice | None = None) -> int:
        """Step of the ratios in percent."""
        return _percent((choice.step if choice else None) or self.step)

    def suggest(self, trial: BaseTrial) -> Policy:
        """Draw a policy: conditional parameters, define by run. The policy may still conflict by rule."""
        return Policy.of(stage for modality in self.modalities for stage in self.suggest_modality(trial, modality))

    def suggest_modality(self, trial: BaseTrial, modality: Modality) -> list[Stage]:
        """Draw the stages of one modality."""
        space = self.modalities[modality]
        stages: list[Stage] = []
        after: Location | None = None
        left: int | None = None
        for _ in range(space.max_stages):
            choices = _later(space, after)
            if not choices:
                break
            # A categorical parameter's choices are fixed for a study, so each location passed has its own parameter.
            name = modality if after is None else f"{modality}.after-{after}"
            key = str(trial.suggest_categorical(name, [NONE, *choices]))
            if key == NONE:
                break
            choice = choices[key]
            stage = self._suggest_stage(trial, modality, choice, left)
            stages.append(stage)
            after, left = choice.location, _percent(stage.final_ratio)
        return stages

    def _suggest_stage(self, trial: BaseTrial, modality: Modality, choice: Choice, left: int | None) -> Stage:
        prefix = f"{modality}.{choice.key}"
        grid = self.grid(choice)
        low, high = (_percent(ratio) for ratio in choice.keep_ratio)

        def keep(name: str, below: int | None) -> int:
            # Under what is left, on the same grid; where nothing is left to choose, `low`, which a rule then refuses.
            top = high if below is None else max(low, min(high, (below - 1) // grid * grid))
            return trial.suggest_int(f"{prefix}.{name}", low, top, step=grid)

        common: dict[str, Any] = {
            "modality": modality,
            "location": choice.location,
            "mechanism": choice.mechanism,
            "params": choice.params,
        }
        schedule: str = choice.schedules[0]
        if len(choice.schedules) > 1:
            schedule = str(trial.suggest_categorical(f"{prefix}.schedule", list(choice.schedules)))
        if schedule == "step":
            combo = str(trial.suggest_categorical(f"{prefix}.layers", list(choice.combos())))
            layers: dict[int, float] = {}
            for i, layer in enumerate(map(int, combo.split(","))):
                left = keep(f"keep_percent.{i}", left)
                layers[layer] = left / 100
            return Stage(layers=layers, **common)
        layer_at: int | None = None
        if choice.layers:
            layer_at = int(trial.suggest_categorical(f"{prefix}.layer", list(choice.layers)))
        return Stage(layer=layer_at, keep_ratio=keep("keep_percent", left) / 100, **common)

    def encode(self, policy: Policy) -> dict[str, Any]:
        """The parameters with which `suggest` draws this policy: its exact inverse.

        Raises:
            SpaceError: the policy lies outside the space.
        """
        params: dict[str, Any] = {}
        for modality in policy.modalities:
            if modality not in self.modalities:
                raise SpaceError(f"{modality}: the space has no such modality; it has {', '.join(self.modalities)}")
        for modality in self.modalities:
            params.update(self.encode_modality(modality, policy.modality(modality)))
        return params

    def encode_modality(self, modality: Modality, stages: tuple[Stage, ...]) -> dict[str, Any]:
        """The parameters with which `suggest_modality` draws these stages.

        Raises:
            SpaceError: they lie outside the space.
        """
        from optuna.trial import FixedTrial

        space = self.modalities[modality]
        if len(stages) > space.max_stages:
            raise SpaceError(f"{modality}: {len(stages)} stages; the space allows {space.max_stages}")
        params: dict[str, Any] = {}
        after: Location | None = None
        for stage in stages:
            choice = self.choice(stage)
            if choice is None or choice.key not in _later(space, after):
                raise SpaceError(f"{stage.label()}: the space has no such choice here")
            params[modality if after is None else f"{modality}.after-{after}"] = choice.key
            params.update(self._encode_stage(stage, choice))
            after = choice.location
        if len(stages) < space.max_stages and _later(space, after):
            params[modality if after is None else f"{modality}.after-{after}"] = NONE
        trial = FixedTrial(params)
        outside = f"{Policy(stages=stages).label()}: outside the ratios or layers of the space"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a fixed value outside its range only warns
                drawn = self.suggest_modality(trial, modality)
        except (ValueError, UserWarning) as error:
            raise SpaceError(outside) from error
        if tuple(drawn) != stages or set(trial.distributions) != set(params):
            raise SpaceError(outside)
        return params

    def _encode_stage(self, stage: Stage, choice: Choice) -> dict[str, Any]:
        prefix = f"{stage.modality}.{choice.key}"
        params: dict[str, Any] = {}
        schedule = "single" if stage.layers is None else "step"
        if schedule not in choice.schedules:
            raise SpaceError(f"{stage.label()}: the space allows the schedules {', '.join(choice.schedules)}")
        if len(choice.schedules) > 1:
            params[f"{prefix}.schedule"] = schedule
        steps = stage.steps()
        for _, ratio in steps:
            if abs(ratio * 100 - round(ratio * 100)) > 1e-6:
                raise SpaceError(f"{stage.label()}: {ratio:g} is not on the space's grid of ratios")
        if schedule == "step":
            params[f"{prefix}.layers"] = ",".join(str(layer) for layer, _ in steps)
            params.update({f"{prefix}.keep_percent.{i}": _percent(ratio) for i, (_, ratio) in enumerate(steps)})
            return params
        if choice.layers:
            params[f"{prefix}.layer"] = steps[0][0]
        params[f"{prefix}.keep_percent"] = _percent(steps[0][1])
        return params

    def encode_known(self, policy: Policy) -> dict[str, Any]:
        """Parameters of the modalities whose stages lie inside the space: what a sampler can learn from a policy."""
        params: dict[str, Any] = {}
        for modality in self.modalities:
            try:
                params.update(self.encode_modality(modality, policy.modality(modality)))
            except SpaceError:
                continue
        return params

    def distributions(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna distributions of encoded parameters (of whole modalities)."""
        from optuna.trial import FixedTrial

        trial = FixedTrial(dict(params))
        for modality in self.modalities:
            if modality in params:
                self.suggest_modality(trial, modality)
        return dict(trial.distributions)


def _percent(ratio: float) -> int:
    return round(ratio * 100)


def _whole_percent(step: float) -> bool:
    return 0.01 <= step <= 0.5 and abs(step * 100 - round(step * 100)) < 1e-6


def _later(space: ModalitySpace, after: Location | None) -> dict[str, Choice]:
    depth = -1 if after is None else LOCATION_ORDER[after]
    return {choice.key: choice for choice in space.choices if LOCATION_ORDER[choice.location] > depth}


def _check_presets(space: ModalitySpace, modality: str, where: str) -> None:
    if space.presets is None:
        return
    from autotc.presets import PRESETS

    for i, name in enumerate(space.presets):
        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PRESETS)}"
            raise SpaceError(f"{where}.presets.{i}: unknown preset {name!r}; {hint}")
        if modality not in PRESETS[name].modalities:
            raise SpaceError(f"{where}.presets.{i}: {name} does not take {modality!r}")
