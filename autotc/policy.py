"""Policies: an ordered list of stages for one model architecture, and their YAML form."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from autotc.budgets import AdaptiveBudget, StageBudget, check_budget
from autotc.documents import Number, load_mapping, parse, read_mapping
from autotc.errors import PolicyError, quote
from autotc.mechanisms import InputMechanism, MechanismBase, build_mechanism, input_mechanism
from autotc.schemas import write_yaml
from autotc.statistics import Interval
from autotc.vocabulary import LOCATION_ORDER, MODALITIES, Location, Modality

STAGES = 1000
"""Stages that a policy may have; the deepest schedules have some hundred."""
DEEPEST = 10_000
"""Layers that a stage may stand at are below this."""


def _interval(value: object) -> object:
    """Three finite numbers from 0, as a list or an interval."""
    if isinstance(value, list | tuple):
        for number in value:
            if isinstance(number, bool) or not isinstance(number, float | int) or not 0 <= number < math.inf:
                raise ValueError("Input should be mean, low and high, finite and not negative")
    return value


Amount = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Number, Field(ge=0)]
Ratio = Annotated[float, Number, Field(gt=0, le=1)]
Layer = Annotated[int, Number, Field(ge=0, lt=DEEPEST)]


Version = Annotated[Literal[1], Number]
_KEYS = "version and stages"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelReference(_Strict):
    """The architecture a policy is for.

    Attributes:
        architecture: class name in transformers.
        fingerprint: ``sha256:...`` over the configuration's structural fields; None fits any size.
    """

    architecture: str
    fingerprint: str | None = None


class Stage(_Strict):
    """One reduction: modality x location x mechanism x keep ratio.

    Attributes:
        modality: ``image``, ``video`` or ``audio``.
        location: ``input``, ``encoder`` (after block ``layer``), ``projector`` or ``decoder`` (before ``layer``).
        layer: block or layer, counted from 0; at encoder and decoder.
        mechanism: name in the registry.
        keep_ratio: in (0, 1], of the item's uncompressed token count.
        layers: block or layer -> keep ratio, at encoder and decoder, in place of ``layer`` and ``keep_ratio``.
        params: parameters of the mechanism.
        budget: how the keep ratio of an item follows a score of it; ``adaptive`` stands for the usual one, not fitted
            yet. None gives every item the same ratio.
    """

    modality: Modality
    location: Location
    layer: Layer | None = None
    mechanism: str
    keep_ratio: Ratio | None = None
    layers: dict[Layer, Ratio] | None = None
    params: dict[str, object] = Field(default_factory=dict)
    budget: StageBudget = None

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        mechanism = build_mechanism(self.mechanism, self.params)
        if self.location not in mechanism.locations:
            raise PolicyError(
                f"location: {self.mechanism} cannot act at {self.location!r}; it can at"
                f" {', '.join(mechanism.locations)}"
            )
        if self.modality not in mechanism.modalities:
            raise PolicyError(
                f"modality: {self.mechanism} does not take {self.modality!r}; it takes"
                f" {', '.join(mechanism.modalities)}"
            )
        check_budget(self.budget, mechanism, self.location)
        layered = self.location in ("encoder", "decoder")
        if self.layers is not None:
            if not layered or self.layer is not None or self.keep_ratio is not None:
                raise PolicyError("layers: only at encoder and decoder, and in place of layer and keep_ratio")
            if not self.layers:
                raise PolicyError("layers: empty; give at least one layer: ratio")
            ordered = [self.layers[k] for k in sorted(self.layers)]
            if any(b > a for a, b in itertools.pairwise(ordered)):
                raise PolicyError(
                    f"layers: ratios {_listed(ordered)} rise with depth; they are of N0 and may only fall"
                )
        else:
            if self.keep_ratio is None:
                raise PolicyError("keep_ratio: missing; a ratio in (0, 1] is needed")
            if layered and self.layer is None:
                raise PolicyError(f"layer: missing; a stage at the {self.location} needs one")
            if not layered and self.layer is not None:
                raise PolicyError(f"layer: {self.layer} given; a stage at the {self.location} has none")
        return self

    def steps(self) -> list[tuple[int | None, float]]:
        """(layer, keep ratio) of every reduction of this stage, in order of depth."""
        if self.layers is not None:
            return sorted(self.layers.items())
        assert self.keep_ratio is not None  # ensured by the validator
        return [(self.layer, self.keep_ratio)]

    @property
    def final_ratio(self) -> float:
        """The keep ratio after its last step."""
        return self.steps()[-1][1]

    def build(self, keep_ratio: float | None = None) -> MechanismBase:
        """The mechanism with its parameters, for a step with a keep ratio."""
        also = () if self.budget is None else self.budget.needs(self.location)
        return build_mechanism(self.mechanism, self.params, keep_ratio, also)

    def input_mechanism(self) -> InputMechanism:
        """The mechanism of a stage at the input, with its parameters."""
        return input_mechanism(self.mechanism, self.params)

    def label(self) -> str:
        """Short name, e.g. ``image projector divprune 0.5``."""
        adaptive = "" if self.budget is None else " adaptive"
        if self.layers is not None:
            where = "decoder " + self.mechanism
            return (
                f"{self.modality} {where} " + " ".join(f"{k}:{r:g}" for k, r in sorted(self.layers.items())) + adaptive
            )
        layer = "" if self.layer is None else f"[{self.layer}]"
        return f"{self.modality} {self.location}{layer} {self.mechanism} {self.keep_ratio:g}{adaptive}"


class Measured(_Strict):
    """What was measured when the policy was written; read by ``check`` and by people.

    Attributes:
        evaluator: ``builtin``, ``jsonl`` or ``lmms``.
        split: name of the split.
        samples: number of samples of each modality.
        seed: of the split.
        samples_sha256: hash of the samples' ids and answers.
        accuracy: modality -> (mean, low, high), 95% interval.
        flops_ratio: compressed over uncompressed prefill FLOPs.
        kv_ratio: bytes of keys and values after prefill over the uncompressed model's.
        predicted_ms: mean prefill of a sample, where the search had a latency model.
        study, trial: where it was found.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        versions: of Python and packages that can move an answer.
        tolerance: largest fall in accuracy that ``check`` lets pass.
        tolerances: modality group, ``overall`` or ``task:NAME`` -> largest fall in its accuracy, where it has its own.
    """

    evaluator: str
    split: str
    samples: dict[str, Count]
    seed: Count = 0
    samples_sha256: str
    accuracy: dict[str, Annotated[Interval, BeforeValidator(_interval)]]
    flops_ratio: Amount
    kv_ratio: Amount | None = None
    predicted_ms: Amount | None = None
    study: str | None = None
    trial: Count | None = None
    tokens: dict[str, Amount] = {}
    versions: dict[str, str] = {}
    tolerance: Annotated[Amount, Field(le=1)] = 0.03
    tolerances: dict[str, Annotated[Amount, Field(le=1)]] = {}


def _listed(ratios: list[float]) -> str:
    """Ratios as they stand in an error."""
    shown = [f"{ratio:g}" for ratio in ratios[:8]]
    return ", ".join(shown) + (f", ... ({len(ratios)})" if len(ratios) > len(shown) else "")


def _stages(value: object) -> object:
    """Stages one by one, so that what is wrong with one is told with its number."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) > STAGES:
        raise PolicyError(f"stages: {len(value):,} given; at most {STAGES:,} are allowed")
    out: list[object] = []
    for i, stage in enumerate(value):
        try:
            out.append(Stage.model_validate(stage))
        except PolicyError as error:
            raise PolicyError(f"stages.{i}.{error}") from error
        except ValidationError:  # told by the policy's own validation, with its place
            out.append(stage)
    return out


_HASHES: dict[int, tuple[tuple[Stage, ...], str]] = {}
"""Identity of a tuple of stages, which never change -> the tuple, so that the identity stays its own, and its hash."""
_REMEMBERED = 2**16


def _numbered(stage: object) -> object:
    """A stage whose layers are numbers, where they are text."""
    layers = stage.get("layers") if isinstance(stage, dict) else None
    if not isinstance(stage, dict) or not isinstance(layers, dict):
        return stage
    named = {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in layers.items()}
    return {**stage, "layers": named}


class Policy(_Strict):
    """An ordered list of stages, valid for one model architecture.

    Attributes:
        version: of the file format, 1.
        model: what it is for; None fits every model.
        stages: in the order they act on a modality.
        measured: what the search found.
        note: a remark for people.
    """

    version: Version = 1
    model: ModelReference | None = None
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_stages)] = ()
    measured: Measured | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        last: dict[str, tuple[int, int]] = {}
        for i, stage in enumerate(self.stages):
            steps = stage.steps()
            first = (LOCATION_ORDER[stage.location], steps[0][0] or 0)
            if stage.modality in last and first < last[stage.modality]:
                raise PolicyError(f"stages.{i}: acts before the {stage.modality} stage above it; order stages by depth")
            last[stage.modality] = (LOCATION_ORDER[stage.location], steps[-1][0] or 0)
        return self

    @classmethod
    def of(cls, stages: Iterable[Stage], model: ModelReference | None = None) -> Policy:
        """A policy of stages in any order; they are sorted by modality and depth."""
        key = lambda s: (MODALITIES.index(s.modality), LOCATION_ORDER[s.location], s.steps()[0][0] or 0)  # noqa: E731
        return cls(stages=tuple(sorted(stages, key=key)), model=model)

    def modality(self, name: str) -> tuple[Stage, ...]:
        """The stages that act on one modality, in order."""
        return tuple(stage for stage in self.stages if stage.modality == name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities it touches."""
        return tuple(dict.fromkeys(stage.modality for stage in self.stages))

    @property
    def adaptive(self) -> bool:
        """Whether the count of a stage hangs on the item's content, so that cost has to be measured."""
        return any(stage.budget is not None or stage.build().adaptive for stage in self.stages)

    def content_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the stages; equal for policies that do the same."""
        known = _HASHES.get(id(self.stages))
        if known is not None and known[0] is self.stages:
            return known[1]
        stages = [stage.model_dump(mode="json", exclude_none=True) for stage in self.stages]
        digest = hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()[:16]
        if len(_HASHES) >= _REMEMBERED:
            _HASHES.clear()
        _HASHES[id(self.stages)] = self.stages, digest
        return digest

    def label(self) -> str:
        """One line naming its stages."""
        return "; ".join(stage.label() for stage in self.stages) or "none"

    def to_data(self) -> dict[str, object]:
        """What its YAML says, as JSON takes it; equal policies give equal data."""
        data = self.model_dump(mode="json", exclude_none=True)
        for stage, model in zip(data["stages"], self.stages, strict=True):
            if not stage["params"]:
                del stage["params"]
            if model.layers is not None:
                stage["layers"] = dict(sorted(model.layers.items()))
        measured = data.get("measured", {})
        for name in [name for name, value in measured.items() if value == {}]:
            del measured[name]  # what was not measured
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, object], where: str = "policy") -> Policy:
        """From what `to_data` gives, or JSON has made of it, where all keys are text.

        Raises:
            PolicyError: as of `from_yaml`.
        """
        stages = data.get("stages", ())
        listed = [_numbered(stage) for stage in stages] if isinstance(stages, list | tuple) else stages
        return parse(cls, {**data, "stages": listed}, where, PolicyError)

    def to_yaml(self) -> str:
        """YAML text; equal policies give equal text."""
        data = self.to_data()
        lines = yaml.safe_dump({k: v for k, v in data.items() if k != "stages"}, sort_keys=False, width=120)
        stages = yaml.safe_dump({"stages": data["stages"]}, sort_keys=False, width=120)
        return lines + stages

    @classmethod
    def from_yaml(cls, text: str, where: str = "policy") -> Policy:
        """Parse YAML text.

        Raises:
            PolicyError: one line naming file, place, value and what would be right.
        """
        return parse(cls, read_mapping(text, where, _KEYS, PolicyError), where, PolicyError)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy file, or what MLflow keeps: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID``.

        Raises:
            PolicyError: the file is missing, no regular file, too large, empty or wrong; or MLflow has no such policy.
        """
        path = local_file(path)
        return parse(cls, load_mapping(path, "a policy file (.yaml)", _KEYS, PolicyError), str(path), PolicyError)

    def save(self, path: str | Path) -> Path:
        """Write the policy file, whole or not at all, for editors with its schema (see `write_yaml`); returns its path.

        Raises:
            DataError: it cannot be written.
        """
        return write_yaml(path, self.to_yaml(), "policy")


UNCOMPRESSED = Policy()
"""The policy without stages: the model as it is."""


def adaptive_policy(policy: Policy, budget: AdaptiveBudget) -> Policy:
    """A policy whose stages, those at the input and those that set their own count apart, follow the item.

    Raises:
        PolicyError: it has no such stage, or the budget's score does not exist where one stands.
    """
    able = [s.location != "input" and not s.build().adaptive for s in policy.stages]
    if not any(able):
        raise PolicyError("budget: adaptive given; the policy has no stage whose budget can follow the item")
    stages = [
        Stage.model_validate({**stage.model_dump(), "budget": budget}) if follows else stage
        for stage, follows in zip(policy.stages, able, strict=True)
    ]
    return policy.model_copy(update={"stages": tuple(stages), "measured": None})


def local_file(policy: str | Path) -> Path:
    """A path as it is; of a policy that MLflow keeps (``models:/...``, ``runs:/...``) the file that was fetched.

    MLflow stands above what runs a policy, and is looked for only where it is named.

    Raises:
        PolicyError: MLflow has no such policy, or does not answer.
        MissingDependencyError: mlflow is not installed.
    """
    if not str(policy).startswith(("models:", "runs:")):
        return Path(policy)
    found: Path = importlib.import_module("autotc.tracking.policies").local_policy(policy)
    return found


def read_policy(policy: Policy | str | Path) -> Policy:
    """The policy that an argument means: a policy itself, the path of its file, or ``none`` for the uncompressed model.

    Raises:
        PolicyError: it is none of these, or the file is missing or wrong.
    """
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, str | Path):
        raise PolicyError(f"policy: {quote(policy)} given; a Policy, or the path of a policy file, is right")
    return UNCOMPRESSED if str(policy) == "none" else Policy.load(policy)
