"""Search spaces: which stages may be combined, as YAML in and Optuna define-by-run suggestions out, and back."""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autotc.depths import Depths
from autotc.documents import load_mapping, parse, read_mapping
from autotc.errors import PolicyError
from autotc.export import Engine
from autotc.mechanisms import build_mechanism
from autotc.policy import Policy, Stage
from autotc.vocabulary import LOCATION_ORDER, MODALITIES, Location, Modality

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

NONE = "none"
"""The choice of no (further) stage."""
Schedule = Literal["single", "step", "free", "linear", "sigmoid"]
STEEPNESS = (0.5, 1.0, 2.0, 4.0)
"""Slopes of sigmoid schedules, per layer."""


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
        schedules: how ratios fall over the layers. ``single``: at one of them; ``step``: at two or three of them;
            ``free``: any ratios that do not rise; ``linear``: from the first layer's ratio to the last's along a line;
            ``sigmoid``: along a sigmoid of the depth (after P-Sigmoid, arXiv 2412.00556). All but the first are the
            decoder's.
    """

    mechanism: str
    location: Location
    layers: tuple[int, ...] = ()
    keep_ratio: tuple[float, float]
    step: float | None = None
    schedules: tuple[Schedule, ...] = ("single",)
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name among the choices of a modality, e.g. ``tome@encoder``."""
        return f"{self.mechanism}@{self.location}"

    @property
    def several(self) -> bool:
        """Whether one stage may act at several layers."""
        return any(name != "single" for name in self.schedules)

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
            return f"schedules: empty or repeated; list some of {', '.join(get_args(Schedule))}"
        if self.several and (self.location != "decoder" or len(self.layers) < 2):
            first = next(name for name in self.schedules if name != "single")
            return f"schedules: {first} needs the decoder and at least two layers"
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
        return parse(cls, read_mapping(text, where, "version and modalities", SpaceError), where, SpaceError)

    @classmethod
    def load(cls, path: str | Path) -> SearchSpace:
        """Read a search space file.

        Raises:
            SpaceError: the file is missing, no regular file, too large, empty or wrong.
        """
        data = load_mapping(path, "a search space file (.yaml)", "version and modalities", SpaceError)
        return parse(cls, data, str(path), SpaceError)

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

    def draw(self, modality: Modality, rng: np.random.Generator) -> tuple[Stage, ...]:
        """A random stack, each choice as likely as its alternatives; it may still conflict by rule."""
        return tuple(self.suggest_modality(_Draw(rng), modality))  # type: ignore[arg-type]

    def stacks(self, modality: Modality) -> Iterator[tuple[Stage, ...]]:
        """Every distinct stack that `suggest_modality` can draw, legal by rule or not, in a fixed order."""
        seen: set[str] = set()
        walk = _Walk()
        while True:
            stack = tuple(self.suggest_modality(walk, modality))  # type: ignore[arg-type]
            key = Policy(stages=stack).content_hash()
            if key not in seen:
                seen.add(key)
                yield stack
            if not walk.advance():
                return

    def _suggest_stage(self, trial: BaseTrial, modality: Modality, choice: Choice, left: int | None) -> Stage:
        prefix = f"{modality}.{choice.key}"
        grid = self.grid(choice)
        low, high = (_percent(ratio) for ratio in choice.keep_ratio)

        def keep(name: str, below: int | None, room: int = 0) -> int:
            # Under what is left, on the same grid, and with room for ratios to come; where nothing is left to choose,
            # the lowest, which a rule then refuses.
            least = low + room * grid
            top = high if below is None else max(least, min(high, (below - 1) // grid * grid))
            return trial.suggest_int(f"{prefix}.{name}", least, max(least, top), step=grid)

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
            falling: list[int] = []
            for i in range(combo.count(",") + 1):
                left = keep(f"keep_percent.{i}", left, combo.count(",") - i)
                falling.append(left)
            return _scheduled(common, list(map(int, combo.split(","))), falling, None)
        layers = sorted(choice.layers)
        # The ratio one step above what may be chosen stands for all tokens that are left.
        whole = (high if left is None else max(low, min(high, (left - 1) // grid * grid))) + grid
        if schedule == "free":
            percents: list[int] = []
            top = whole
            for layer in layers:
                last = layer == layers[-1]
                top = trial.suggest_int(
                    f"{prefix}.keep_percent.at-{layer}", low, whole - grid if last and top == whole else top, step=grid
                )
                percents.append(top)
            return _scheduled(common, layers, percents, whole)
        if schedule in ("linear", "sigmoid"):
            first = keep("first_percent", left)
            final = trial.suggest_int(f"{prefix}.last_percent", low, first, step=grid)
            if schedule == "linear":
                return _scheduled(common, layers, _line(layers, first, final), None)
            middle = trial.suggest_categorical(f"{prefix}.middle", _middles(layers))
            steepness = trial.suggest_categorical(f"{prefix}.steepness", STEEPNESS)
            return _scheduled(common, layers, _sigmoid(layers, first, final, float(middle), float(steepness)), None)
        layer_at: int | None = None
        if choice.layers:
            layer_at = int(trial.suggest_categorical(f"{prefix}.layer", list(choice.layers)))
        return Stage(layer=layer_at, keep_ratio=keep("keep_percent", left) / 100, **common)

    def names(self) -> tuple[str, ...]:
        """Names of all parameters that `suggest` may ask for, in a fixed order."""
        out: dict[str, None] = {}
        for modality, space in self.modalities.items():
            out[modality] = None
            for choice in space.choices:
                if space.max_stages > 1 and _later(space, choice.location):
                    out[f"{modality}.after-{choice.location}"] = None
                for schedule in choice.schedules:
                    longest = _Longest(schedule)
                    self._suggest_stage(longest, modality, choice, None)  # type: ignore[arg-type]
                    out.update(dict.fromkeys(longest.names))
        return tuple(out)

    def encode(self, policy: Policy) -> dict[str, Any]:
        """The parameters with which `suggest` draws this policy: its exact inverse.

        A schedule that several kinds describe is taken for the first of them that the choice lists.

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
        left: int | None = None
        for stage in stages:
            choice = self.choice(stage)
            if choice is None or choice.key not in _later(space, after):
                raise SpaceError(f"{stage.label()}: the space has no such choice here")
            params[modality if after is None else f"{modality}.after-{after}"] = choice.key
            params.update(self._encode_stage(stage, choice, left))
            after, left = choice.location, _percent(stage.final_ratio)
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

    def holds(self, modality: Modality, stages: tuple[Stage, ...]) -> bool:
        """Whether `suggest_modality` can draw these stages."""
        try:
            self.encode_modality(modality, stages)
        except SpaceError:
            return False
        return True

    def _encode_stage(self, stage: Stage, choice: Choice, left: int | None) -> dict[str, Any]:
        steps = {int(layer or 0): _percent(ratio) for layer, ratio in stage.steps()}
        if any(abs(ratio * 100 - round(ratio * 100)) > 1e-6 for _, ratio in stage.steps()):
            raise SpaceError(f"{stage.label()}: a ratio is not on the space's grid")
        prefix = f"{stage.modality}.{choice.key}"
        for schedule in choice.schedules:
            found = self._encode_schedule(schedule, choice, steps, left)
            if found is not None:
                params = {f"{prefix}.{name}": value for name, value in found.items()}
                return {f"{prefix}.schedule": schedule, **params} if len(choice.schedules) > 1 else params
        raise SpaceError(
            f"{stage.label()}: outside the ratios, layers or schedules ({', '.join(choice.schedules)}) of the space"
        )

    def _encode_schedule(
        self, schedule: Schedule, choice: Choice, steps: Mapping[int, int], left: int | None
    ) -> dict[str, Any] | None:
        """Parameters, without their prefix, with which a schedule gives these steps (layer -> percent), or None."""
        low, high = (_percent(ratio) for ratio in choice.keep_ratio)
        grid = self.grid(choice)
        layers, values = sorted(choice.layers), list(steps.values())
        if schedule == "single":
            if len(steps) > 1:
                return None
            return {**({"layer": next(iter(steps))} if layers else {}), "keep_percent": values[0]}
        if not set(steps) <= set(layers):
            return None
        on_grid = all(low <= value <= high and value % grid == 0 for value in values)
        if schedule == "step":
            if not (on_grid and 2 <= len(steps) <= 3 and len(set(values)) == len(values)):
                return None
            return {"layers": ",".join(map(str, steps)), **{f"keep_percent.{i}": v for i, v in enumerate(values)}}
        if schedule == "free":
            if not (on_grid and len(set(values)) == len(values)):
                return None
            now = (high if left is None else max(low, min(high, (left - 1) // grid * grid))) + grid
            found = {}
            for layer in layers:
                now = found[f"keep_percent.at-{layer}"] = steps.get(layer, now)
            return found
        if layers[0] not in steps or not (low <= values[0] <= high):
            return None
        if schedule == "linear":
            line = _line(layers, values[0], values[-1])
            return {"first_percent": values[0], "last_percent": values[-1]} if _falls(layers, line) == steps else None
        return _sigmoids(tuple(layers), low, high, grid).get(tuple(steps.items()))

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


class _Draw:
    """Stands for a trial and draws at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Any of the choices."""
        return choices[int(self._rng.integers(len(choices)))]

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        """Any number on the grid."""
        return low + step * int(self._rng.integers((high - low) // step + 1))


class _Longest:
    """Stands for a trial that notes what it is asked for, of a given kind of schedule with the most layers."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.names: list[str] = []

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The schedule, or the last choice: step schedules list those with the most layers last."""
        self.names.append(name)
        return self._schedule if name.endswith(".schedule") else choices[-1]

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        """The highest."""
        self.names.append(name)
        return high


class _Walk:
    """Stands for a trial and draws every combination of what is suggested, one after the other."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._at: list[int] = []
        self._depth = 0

    def _next(self, size: int) -> int:
        if self._depth == len(self._at):
            self._at.append(0)
            self._sizes.append(size)
        self._depth += 1
        return self._at[self._depth - 1]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The next choice."""
        return choices[self._next(len(choices))]

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        """The next number."""
        return low + step * self._next((high - low) // step + 1)

    def advance(self) -> bool:
        """Go to the next combination; False behind the last."""
        self._depth = 0
        while self._at:
            self._at[-1] += 1
            if self._at[-1] < self._sizes[-1]:
                return True
            self._at.pop()
            self._sizes.pop()
        return False


def _percent(ratio: float) -> int:
    return round(ratio * 100)


def _falls(layers: Sequence[int], percents: Sequence[int], whole: int | None = None) -> dict[int, int]:
    """Layers at which the ratio falls, with what it falls to; ``whole`` stands for all that is left."""
    out: dict[int, int] = {}
    now = whole
    for layer, percent in zip(layers, percents, strict=True):
        if now is None or percent < now:
            out[layer] = now = percent
    return out


def _scheduled(common: Mapping[str, Any], layers: Sequence[int], percents: Sequence[int], whole: int | None) -> Stage:
    """The stage with these ratios before these layers, in its one written form."""
    steps = _falls(layers, percents, whole)
    if len(steps) == 1:
        ((layer, percent),) = steps.items()
        return Stage(layer=layer, keep_ratio=percent / 100, **common)
    return Stage(layers={layer: percent / 100 for layer, percent in steps.items()}, **common)


def _line(layers: Sequence[int], first: int, last: int) -> list[int]:
    span = layers[-1] - layers[0]
    return [round(first + (last - first) * (layer - layers[0]) / span) for layer in layers]


def _middles(layers: Sequence[int]) -> list[float]:
    """Depths at which a sigmoid may be half way down: at its layers, and half way between them."""
    between = [(a + b) / 2 for a, b in itertools.pairwise(layers)]
    return sorted({*map(float, layers), *between})


def _sigmoid(layers: Sequence[int], first: int, last: int, middle: float, steepness: float) -> list[int]:
    fall = [1 / (1 + math.exp(-steepness * (layer - middle))) for layer in layers]
    # From the first layer's ratio to the last's exactly, whatever the slope.
    share = [(f - fall[0]) / (fall[-1] - fall[0]) for f in fall]
    return [round(first + (last - first) * s) for s in share]


@functools.cache
def _sigmoids(
    layers: tuple[int, ...], low: int, high: int, grid: int
) -> dict[tuple[tuple[int, int], ...], dict[str, Any]]:
    """What each sigmoid schedule falls to -> its parameters; the first of several that give the same."""
    out: dict[tuple[tuple[int, int], ...], dict[str, Any]] = {}
    for first in range(low, high + 1, grid):
        for last in range(low, first + 1, grid):
            for middle in _middles(layers):
                for steepness in STEEPNESS:
                    steps = _falls(layers, _sigmoid(layers, first, last, middle, steepness))
                    out.setdefault(
                        tuple(steps.items()),
                        {"first_percent": first, "last_percent": last, "middle": middle, "steepness": steepness},
                    )
    return out


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
