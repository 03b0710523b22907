"""The file of a search space, its checks, and what it offers: policies to draw and the parameters that draw them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autotc.budgets import AdaptiveBudget, StageBudget, check_budget
from autotc.depths import Depths
from autotc.documents import load_mapping, parse, read_mapping
from autotc.errors import PolicyError, quote
from autotc.export import ENGINES
from autotc.mechanisms import build_mechanism
from autotc.names import nearest
from autotc.policy import Policy, Stage
from autotc.search.space.drawing import encode_modality, parameter_names, stage_key, suggest_modality
from autotc.search.space.errors import SpaceError
from autotc.search.space.schedules import Schedule, to_percent
from autotc.search.space.trials import EnumeratingTrial, RandomTrial, Trial
from autotc.vocabulary import MODALITIES, Location, Modality

MOST_LAYERS = 8
"""Layers that a share of a depth becomes: more of them make a space larger, not richer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_Strict):
    """A kind of stage that may be chosen.

    Attributes:
        mechanism, location, params: of the stage.
        layers: layers it may act at (encoder and decoder), counted from 0.
        depth: in place of layers, the shares of the tower's or the decoder's depth between which it may act, in [0, 1];
            layer k of n stands at k / n. A space with shares fits models of any depth: see `SearchSpace.fit`.
        keep_ratio: lowest and highest ratio, both multiples of the step.
        step: grid of its ratios; None takes the space's.
        budget: ``adaptive``, or the score and the spread of budgets that follow the item; fitted when a search begins.
        budgets: layer -> the budget as fitted in front of it, -1 where the location has none; a search writes it.
        schedules: how ratios fall over the layers. ``single``: at one of them; ``step``: at two or three of them;
            ``free``: any ratios that do not rise; ``linear``: from the first layer's ratio to the last's along a line;
            ``sigmoid``: along a sigmoid of the depth (after P-Sigmoid, arXiv 2412.00556). All but the first are the
            decoder's.
    """

    mechanism: str
    location: Location
    layers: tuple[int, ...] = ()
    depth: tuple[float, float] | None = None
    keep_ratio: tuple[float, float]
    step: float | None = None
    schedules: tuple[Schedule, ...] = ("single",)
    params: dict[str, Any] = Field(default_factory=dict)
    budget: StageBudget = None
    budgets: dict[int, AdaptiveBudget] | None = None

    @property
    def key(self) -> str:
        """Name among the choices of a modality, e.g. ``tome@encoder``, or ``tome@encoder adaptive``."""
        return stage_key(self)

    def budget_at(self, layer: int | None) -> AdaptiveBudget | None:
        """The budget of a stage whose first layer it is, fitted where a search has done so."""
        return (self.budgets or {}).get(-1 if layer is None else layer, self.budget)

    def placed(self, modality: str, depths: Depths) -> Choice:
        """This choice on a model: with layers in place of shares, at most `MOST_LAYERS` of them.

        Of a decoder with recurrent layers, those are taken where the mechanism finds what it reads. The layer nearest
        to the middle stands in where none lies between the shares; schedules over several layers are left out where
        there is only one.
        """
        decoder = self.location == "decoder"
        layers = depths.decoder if decoder else depths.encoder.get(modality, 0)
        if self.depth is None or not layers:
            return self
        low, high = self.depth
        also = () if self.budget is None else self.budget.needs(self.location)
        offset = build_mechanism(self.mechanism, self.params, also=also).read_offset
        within = [k for k in range(layers) if low - 1e-9 <= k / layers <= high + 1e-9]
        middle = min(layers - 1, round((low + high) / 2 * layers))
        if decoder:
            within = [k for k in within if depths.nearest_scored(k, offset) == k]
            middle = depths.nearest_scored(middle, offset)
        within = within or [middle]
        count = min(MOST_LAYERS, len(within))
        chosen = [within[round(i * (len(within) - 1) / max(1, count - 1))] for i in range(count)]
        schedules = self.schedules
        if count == 1:
            schedules = tuple(name for name in schedules if name == "single") or ("single",)
        return self.model_copy(update={"layers": tuple(chosen), "depth": None, "schedules": schedules})

    @property
    def some_layer(self) -> int | None:
        """A layer that it may act at, for questions whose answer does not hang on which; None where it has none."""
        if self.depth is not None:
            return 1 if self.location == "decoder" else 0
        return self.layers[0] if self.layers else None

    @property
    def several(self) -> bool:
        """Whether one stage may act at several layers."""
        return any(name != "single" for name in self.schedules)

    def first_problem(self, modality: Modality, step: float) -> str | None:
        """``place: what is wrong``, or None."""
        mechanism = build_mechanism(self.mechanism, self.params)
        if self.location not in mechanism.locations:
            allowed = ", ".join(mechanism.locations)
            return f"location: {self.mechanism} cannot act at {self.location!r}; it can at {allowed}"
        if modality not in mechanism.modalities:
            return f"mechanism: {self.mechanism} does not take {modality!r}; it takes {', '.join(mechanism.modalities)}"
        check_budget(self.budget, mechanism, self.location)
        problem = self._layers_problem()
        if problem is not None:
            return problem
        low, high = self.keep_ratio
        if not 0 < low <= high <= 1:
            return f"keep_ratio: [{low:g}, {high:g}] given; 0 < low <= high <= 1 is allowed"
        if self.step is not None and not _whole_percent(self.step):
            return f"step: {self.step:g} given; a multiple of 0.01 in [0.01, 0.5] is allowed"
        grid = to_percent(self.step or step)
        for ratio in self.keep_ratio:
            if abs(ratio * 100 - round(ratio * 100)) > 1e-6 or to_percent(ratio) % grid:
                return f"keep_ratio: {ratio:g} given; multiples of the step {grid / 100:g} are allowed"
        if not self.schedules or len(set(self.schedules)) < len(self.schedules):
            return f"schedules: empty or repeated; list some of {', '.join(get_args(Schedule))}"
        if self.several and (self.location != "decoder" or (self.depth is None and len(self.layers) < 2)):
            first = next(name for name in self.schedules if name != "single")
            return f"schedules: {first} needs the decoder and at least two layers"
        return None

    def _layers_problem(self) -> str | None:
        """What is wrong with the layers, or the depth in their place, or None."""
        layered = self.location in ("encoder", "decoder")
        given = f"layers: {list(self.layers)} given" if self.depth is None else f"depth: {list(self.depth)} given"
        if not layered and (self.layers or self.depth is not None):
            return f"{given}; a choice at the {self.location} has none"
        if self.depth is not None:
            if self.layers:
                return f"depth: given beside layers {list(self.layers)}; one of the two is right"
            if not 0 <= self.depth[0] <= self.depth[1] <= 1:
                return f"{given}; 0 <= low <= high <= 1 is allowed"
        elif layered and not self.layers:
            return f"layers: missing; a choice at the {self.location} needs at least one, or a depth as [0.1, 0.75]"
        if len(set(self.layers)) < len(self.layers) or any(layer < 0 for layer in self.layers):
            return f"{given}; distinct layers from 0 are allowed"
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
        if self.deployable_on is not None and self.deployable_on not in ENGINES:
            hint = nearest(self.deployable_on, ENGINES)
            raise SpaceError(f"deployable_on: {quote(self.deployable_on)} given; {hint}")
        if not self.modalities:
            raise SpaceError(f"modalities: empty; name at least one of {', '.join(MODALITIES)}")
        for modality, space in self.modalities.items():
            where = f"modalities.{modality}"
            if not space.choices:
                raise SpaceError(f"{where}.choices: empty; at least one is needed")
            keys: set[str] = set()
            for i, choice in enumerate(space.choices):
                try:
                    problem = choice.first_problem(modality, self.step)
                except PolicyError as error:
                    problem = str(error)
                if problem is None and choice.key in keys:
                    problem = f"{choice.key} is listed twice; merge the two"
                if problem is not None:
                    raise SpaceError(f"{where}.choices.{i}.{problem}")
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
        """This space for a model and data.

        Modalities the data does not hold are left out, shares of a depth become layers, and layers are checked.

        Raises:
            SpaceError: no modality is left, or a layer is out of the model's range.
        """
        held = set(modalities)
        left = {name: space for name, space in self.modalities.items() if name in held}
        if not left:
            given, there = ", ".join(self.modalities), ", ".join(sorted(held))
            raise SpaceError(f"modalities: {given} given; the data holds {there}")
        for modality, space in left.items():
            left[modality] = space.model_copy(
                update={"choices": tuple(c.placed(modality, depths) for c in space.choices)}
            )
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

    def offered(self, locations: Mapping[str, Collection[str]]) -> tuple[SearchSpace, list[str]]:
        """What a model offers of this space, and what it does not: ``image downsample@input``.

        Args:
            locations: modality -> locations where stages may act on it.

        Raises:
            SpaceError: a modality has no choice left.
        """
        left: dict[Modality, ModalitySpace] = {}
        lacking: list[str] = []
        for modality, part in self.modalities.items():
            able = tuple(choice for choice in part.choices if choice.location in locations.get(modality, ()))
            lacking += [f"{modality} {choice.key}" for choice in part.choices if choice not in able]
            if not able:
                there = ", ".join(locations.get(modality, ())) or "none"
                raise SpaceError(f"modalities.{modality}: the model offers none of its locations; it offers {there}")
            left[modality] = part.model_copy(update={"choices": able})
        return self.model_copy(update={"modalities": left}), lacking

    def choice(self, stage: Stage) -> Choice | None:
        """The choice that a stage is an instance of, or None."""
        space = self.modalities.get(stage.modality)
        for choice in space.choices if space else ():
            same = (choice.mechanism, choice.location, choice.params) == (stage.mechanism, stage.location, stage.params)
            if same and choice.budget_at(stage.steps()[0][0]) == stage.budget:
                return choice
        return None

    def grid(self, choice: Choice | None = None) -> int:
        """Step of the ratios in percent."""
        return to_percent((choice.step if choice else None) or self.step)

    def suggest(self, trial: Trial) -> Policy:
        """Draw a policy: conditional parameters, define by run. The policy may still conflict by rule."""
        return Policy.of(stage for modality in self.modalities for stage in self.suggest_modality(trial, modality))

    def suggest_modality(self, trial: Trial, modality: Modality) -> list[Stage]:
        """Draw the stages of one modality."""
        return suggest_modality(self, trial, modality)

    def draw(self, modality: Modality, rng: np.random.Generator) -> tuple[Stage, ...]:
        """A random stack, each choice as likely as its alternatives; it may still conflict by rule."""
        return tuple(self.suggest_modality(RandomTrial(rng), modality))

    def stacks(self, modality: Modality) -> Iterator[tuple[Stage, ...]]:
        """Every distinct stack that `suggest_modality` can draw, legal by rule or not, in a fixed order."""
        seen: set[str] = set()
        trial = EnumeratingTrial()
        while True:
            stack = tuple(self.suggest_modality(trial, modality))
            key = Policy(stages=stack).content_hash()
            if key not in seen:
                seen.add(key)
                yield stack
            if not trial.advance():
                return

    def names(self) -> tuple[str, ...]:
        """Names of all parameters that `suggest` may ask for, in a fixed order."""
        return parameter_names(self)

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
        return encode_modality(self, modality, stages)

    def holds(self, modality: Modality, stages: tuple[Stage, ...]) -> bool:
        """Whether `suggest_modality` can draw these stages."""
        try:
            self.encode_modality(modality, stages)
        except SpaceError:
            return False
        return True

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


def _whole_percent(step: float) -> bool:
    return 0.01 <= step <= 0.5 and abs(step * 100 - round(step * 100)) < 1e-6


def _check_presets(space: ModalitySpace, modality: str, where: str) -> None:
    if space.presets is None:
        return
    from autotc.presets import PRESETS

    for i, name in enumerate(space.presets):
        if name not in PRESETS:
            hint = nearest(name, PRESETS, len(PRESETS))
            raise SpaceError(f"{where}.presets.{i}: unknown preset {quote(name)}; {hint}")
        if modality not in PRESETS[name].modalities:
            raise SpaceError(f"{where}.presets.{i}: {name} does not take {modality!r}")
