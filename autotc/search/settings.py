"""Settings of a search: as they are given, and as a study keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from autotc.errors import quote
from autotc.latency import LatencyModel
from autotc.names import nearest, to_name
from autotc.search.errors import SearchError
from autotc.search.home import Home
from autotc.search.space import SearchSpace
from autotc.stamp import Stamp

Sampler = Literal["parts", "tpe", "nsga2", "nsga3", "gp", "random", "gsearch", "vflowopt", "fitprune"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
ALONE: tuple[Sampler, ...] = ("gsearch", "vflowopt", "fitprune")
"""Samplers that wait for each result before they propose the next policy: other workers cannot help them."""
TRIALS = 60
BUDGET = 0.4
RANKED = 12
"""Policies that are ranked on the validation split."""


class SearchOptions(TypedDict, total=False):
    """Keywords of `search`; `SearchSettings` says what each is."""

    space: SearchSpace | str | Path | None
    budget: float | None
    budgets: Mapping[str, float] | None
    budget_ms: float | None
    budget_kv: float | None
    latency: LatencyModel | None
    trials: int | None
    seed: int | None
    name: str
    study_name: str | None
    resume: bool
    sampler: Sampler
    races: bool
    predict_conflicts: bool
    runs: str | Path
    out_dir: str | Path
    search_limit: int | None
    val_limit: int | None
    test_limit: int | None
    ranked: int
    reported: int
    track: bool
    tracking_uri: str | None
    trial_timeout: float | None
    force: bool
    register_as: str | None
    storage: str | None
    artifacts: str | None
    workers: int


class SearchSettings(BaseModel):
    """What a search is asked for.

    Attributes:
        space: what may be proposed, or its file; None takes ``search_spaces/default.yaml``.
        budget: largest FLOPs ratio, in (0, 1]; if None 0.4, or 1 beside a budget of milliseconds or KV bytes.
        budgets: modality -> largest FLOPs ratio of that modality's own samples.
        budget_ms: largest predicted prefill of a sample by itself, in milliseconds, on the average.
        budget_kv: largest ratio of the bytes of keys and values after prefill, in (0, 1].
        latency: predicts prefill times; needed for ``budget_ms``, and shown beside the front where it is given.
        trials: distinct feasible policies to evaluate, those not counted that are put together from parts that ran; 60
            if None. A resumed study may ask for more.
        seed: of the sampler; 0 if None. Same seed, same policy file.
        name: of the model, in the names of study and policy file.
        study_name: in place of ``name-b<budget>-s<seed>``.
        resume: go on with the study that ``study_name`` names, or else with the latest of the usual name; its
            stored settings hold, and contradicting ones are refused.
        sampler: who proposes: ``parts``, the search's own; ``tpe``, ``nsga2``, ``nsga3``, ``gp`` or ``random`` of
            Optuna; ``gsearch``, ``vflowopt`` or ``fitprune``, published searches of decoder schedules.
        races: whether policies start on few samples and are given up when the front is better there.
        predict_conflicts: whether stacks that are predicted to conflict are refused, all but every eighth.
        runs: folder of ``studies.db``, of per-sample results and of MLflow's local store.
        out_dir: folder of the policy file.
        search_limit, val_limit, test_limit: samples of each modality group to use of a split; None takes all, or in a
            resumed study what it was made with.
        ranked: policies ranked on the validation split.
        reported: policies of the front measured on the test split.
        track: whether to log to MLflow, at ``tracking_uri``, the environment's ``MLFLOW_TRACKING_URI``, or in
            ``runs/mlflow.db``.
        trial_timeout: seconds after which a trial is failed; None lets it run. Python gets to end it between two
            operations: one operation of native code that never returns goes on.
        force: search also where the uncompressed model is right on none of a modality's samples, or guesses.
        register_as: name under which the exported policy is registered in MLflow, as ``models:/NAME@challenger``.
        storage: URL of the Optuna storage, which other machines may reach: ``postgresql://``, ``mysql://``,
            ``sqlite:///FILE``, ``journal:///FILE``, ``grpc://HOST:PORT``; None takes the environment's
            ``AUTOTC_STORAGE``, or ``studies.db`` in ``runs``.
        artifacts: where per-sample results are kept for other machines, ``s3://BUCKET/PREFIX`` or a folder; None keeps
            them in ``runs``, which machines that share no folder cannot read.
        workers: processes that the policies to rank and report are spread over; the others are started by
            `autotc.worker`, or by ``assist``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    space: SearchSpace | str | Path | None = None
    budget: float | None = None
    budgets: dict[str, float] | None = None
    budget_ms: float | None = None
    budget_kv: float | None = None
    latency: LatencyModel | None = None
    trials: int | None = None
    seed: int | None = Field(None, ge=0)
    name: str = "tiny-omni"
    study_name: str | None = None
    resume: bool = False
    sampler: Sampler = "parts"
    races: bool = True
    predict_conflicts: bool = True
    runs: Path = Path("runs")
    out_dir: Path = Path("policies")
    search_limit: int | None = Field(None, ge=1)
    val_limit: int | None = Field(None, ge=1)
    test_limit: int | None = Field(None, ge=1)
    ranked: int = Field(RANKED, ge=1)
    reported: int = Field(2, ge=1)
    track: bool = True
    tracking_uri: str | None = None
    trial_timeout: float | None = Field(None, gt=0, allow_inf_nan=False)
    force: bool = False
    register_as: str | None = None
    storage: str | None = None
    artifacts: str | None = None
    workers: int = Field(1, ge=1)

    @property
    def home(self) -> Home:
        """Where the study lives."""
        return Home.of(self.runs, self.storage)

    @field_validator("budget", "budget_kv")
    @classmethod
    def _is_ratio(cls, value: float | None, info: ValidationInfo) -> float | None:
        return value if value is None else _ratio(str(info.field_name), value)

    @field_validator("budgets")
    @classmethod
    def _are_ratios(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for modality, ratio in (value or {}).items():
            _ratio(f"budgets.{modality}", ratio)
        return None if value is None else dict(sorted(value.items()))

    @field_validator("budget_ms")
    @classmethod
    def _is_time(cls, value: float | None) -> float | None:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise SearchError(f"budget_ms: {value!r} given; milliseconds above 0 are allowed")
        return value

    @field_validator("trials")
    @classmethod
    def _is_count(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise SearchError(f"trials: {value} given; at least 1 is allowed")
        return value

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> SearchSettings:
        """Check the keywords of `search`.

        Raises:
            SearchError: one is unknown, of the wrong type or out of range; one line naming it, the value given and what
                would be right.
        """
        for key in options:
            if key not in cls.model_fields:
                raise SearchError(f"{key}: unknown setting of a search; {nearest(key, cls.model_fields)}")
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"][:1])
            if key == "sampler":
                hint = nearest(str(first["input"]), SAMPLERS)
                raise SearchError(f"sampler: {quote(first['input'])} given; {hint}") from None
            raise SearchError(f"{key}: {quote(options[key])} given; {first['msg'].lower()}") from None

    def given(self) -> dict[str, Any]:
        """What of a study's settings was asked for; a resumed study must have been made with the same."""
        latency = None if self.latency is None else self.latency.model_dump_json()
        space = None if self.space is None else load_space(self.space).to_yaml()
        asked = self.model_dump(include={"budget", "budgets", "budget_ms", "budget_kv", "seed", "search_limit"})
        given = {**asked, "latency": latency, "space": space}
        return {key: value for key, value in given.items() if value is not None}


class StudySettings(BaseModel):
    """What a study is made with, as it is stored in it. Optional where older studies do not have it.

    Attributes:
        budget, budgets, budget_ms, budget_kv, seed, search_limit, trials, sampler, races, predict_conflicts: as of
            `SearchSettings`, none left open.
        latency: the latency model as JSON.
        space: the search space as YAML.
        base_name: the study's name without the number of studies of the same name.
        policy_name: of the file that is exported, without its ending.
        val_limit, test_limit: as of `SearchSettings`.
        samples_sha256: of the search split.
        fingerprint: of the model.
        stamp: what results on the search split depend on.
        artifacts: as of `SearchSettings`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    budget: float
    budgets: dict[str, float] = Field(default_factory=dict)
    budget_ms: float | None = None
    budget_kv: float | None = None
    latency: str | None = None
    seed: int = 0
    search_limit: int | None = None
    trials: int = TRIALS
    space: str
    policy_name: str
    base_name: str
    sampler: Sampler = "parts"
    races: bool = False
    predict_conflicts: bool = False
    val_limit: int | None = None
    test_limit: int | None = None
    samples_sha256: str
    fingerprint: str | None = None
    stamp: Stamp | None = None
    artifacts: str | None = None

    @classmethod
    def of(cls, settings: SearchSettings, space: str, samples_sha256: str, stamp: Stamp) -> StudySettings:
        """What a new study is made with.

        Args:
            settings: as given.
            space: YAML of the search space.
            samples_sha256: of the search split.
            stamp: of the evaluator's results on the search split.
        """
        given = settings.given()
        return cls(
            **{"budget": _usual_budget(given), **given, "space": space},
            trials=TRIALS if settings.trials is None else settings.trials,
            policy_name=f"{to_name(settings.name)}-{_suffix(given)}",
            base_name=study_base_name(settings),
            sampler=settings.sampler,
            races=settings.races,
            predict_conflicts=settings.predict_conflicts,
            samples_sha256=samples_sha256,
            val_limit=settings.val_limit,
            test_limit=settings.test_limit,
            fingerprint=stamp.fingerprint,
            stamp=stamp,
            artifacts=settings.artifacts,
        )

    def resumed(self, settings: SearchSettings) -> StudySettings:
        """These settings with what a resumed study may have otherwise: trials, limits of validation and test."""
        asked = settings.model_dump(include={"trials", "val_limit", "test_limit"}, exclude_none=True)
        return self.model_copy(update=asked)

    def contradiction(self, settings: SearchSettings, study: str) -> str | None:
        """The first setting given that differs from the study's own, and how, in words; None where none does."""
        for key, value in settings.given().items():
            stored = getattr(self, key)
            if value != stored:
                shown, own = ("another", "its own") if key in ("space", "latency") else (repr(value), repr(stored))
                return f"{key}: {shown} given; study {study} was made with {own}"
        return None


def study_base_name(settings: SearchSettings) -> str:
    """Name of a study without the number of studies of the same name, e.g. ``tiny-omni-b0.4-s0``."""
    if settings.study_name is not None:
        return settings.study_name
    return f"{to_name(settings.name)}-b{_suffix(settings.given())}-s{settings.seed or 0}"


def load_space(space: SearchSpace | str | Path) -> SearchSpace:
    """A search space, read from its file where a path is given."""
    return space if isinstance(space, SearchSpace) else SearchSpace.load(space)


def _ratio(name: str, value: float) -> float:
    if not (math.isfinite(value) and 0 < value <= 1):
        raise SearchError(f"{name}: {value!r} given; a FLOPs ratio in (0, 1] is allowed")
    return value


def _usual_budget(given: Mapping[str, Any]) -> float:
    return 1.0 if "budget_ms" in given or "budget_kv" in given else BUDGET


def _suffix(given: Mapping[str, Any]) -> str:
    """A study's budgets in the names of its files: ``0.5``, ``0.5-image0.4``, ``300ms``, ``0.7-kv0.3``."""
    time, kv = given.get("budget_ms"), given.get("budget_kv")
    budget = given.get("budget", _usual_budget(given))
    parts = [] if (time is not None or kv is not None) and budget == 1.0 else [f"{budget:g}"]
    parts += [f"{modality}{value:g}" for modality, value in given.get("budgets", {}).items()]
    parts += [f"{time:g}ms"] if time is not None else []
    parts += [f"kv{kv:g}"] if kv is not None else []
    return "-".join(parts)
