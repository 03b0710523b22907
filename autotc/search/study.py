"""The search: an ask-and-tell loop over policies whose cost is known before they run, ending in a policy file."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotc.errors import AutotcError, MissingDependencyError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel, place
from autotc.policy import UNCOMPRESSED, Measured, Policy
from autotc.report.figures import FrontFigure, Point, front_html, front_png, main_family
from autotc.resources import search_space
from autotc.results import Results, SplitCost
from autotc.search.engine import PREDICTED, Attempt, Engine, Gate, Outcome, announce
from autotc.search.objective import Budget, Costs
from autotc.search.seeds import seed_policies
from autotc.search.space import SearchSpace
from autotc.search.strategies import SAMPLERS, Sampler, build_strategy
from autotc.statistics import Interval, mean_of_groups_interval
from autotc.track import Tracker, version
from autotc.vocabulary import Modality, Split

if TYPE_CHECKING:
    import optuna

TRIALS = 60
BUDGET = 0.5
RANKED = 12
"""Policies that are ranked on the validation split."""
RECORD = "record"
"""User attribute of a stored trial: its policy, hash, origin, and results or refusal. One, since each costs a write."""
_STALLED = 300
"""Proposals in a row without a new feasible policy after which the space counts as exhausted."""
_FAILURES = 12
"""Trials that may fail in a row before the search gives up: then it is not the mechanisms."""


class SearchError(AutotcError):
    """A search was asked for something it cannot do."""


class SearchInterrupted(AutotcError):
    """The search was interrupted; what was done is saved.

    Args:
        study: name of the study.
        done: trials that are saved.
        total: trials that were asked for.
    """

    def __init__(self, study: str, done: int, total: int) -> None:
        super().__init__(
            f"interrupted after {done} of {total} trials, all saved; go on: autotc search --resume {study}"
        )
        self.study = study


@dataclass(frozen=True)
class FrontRow:
    """A policy of the front.

    Attributes:
        policy: path of its YAML file; empty while the search runs.
        label: its stages in words.
        accuracy: mean over modality groups, on ``split``.
        accuracy_by: modality group -> (mean, low, high).
        flops_ratio: on ``split``.
        trial: number of the trial.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        split: what the numbers are of.
        difference: paired change against the uncompressed model, by modality group and ``overall``; on the test split.
        chosen: whether it is the policy the search exports.
        kv_ratio: bytes of keys and values relative to uncompressed, on ``split``; None while the search runs.
        predicted_ms: mean predicted prefill of a sample; None without a latency model.
        accuracy_search: on the search split, where it was chosen; what is lost from there to ``split`` is its optimism.
    """

    policy: str
    label: str
    accuracy: float
    accuracy_by: Mapping[str, Interval]
    flops_ratio: float
    trial: int
    tokens: Mapping[str, float]
    split: str = "search"
    difference: Mapping[str, Interval] = field(default_factory=dict)
    chosen: bool = False
    kv_ratio: float | None = None
    predicted_ms: float | None = None
    accuracy_search: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        by = {key: list(value) for key, value in self.accuracy_by.items()}
        difference = {key: list(value) for key, value in self.difference.items()}
        return {**vars(self), "accuracy_by": by, "tokens": dict(self.tokens), "difference": difference}


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        policy: path of the exported policy; its samples file stands beside it.
        front: the front, cheapest first, measured once on the test split; thinned where it is long.
        uncompressed: modality group -> accuracy of the uncompressed model on the test split.
        floors: ``modality/location`` -> lowest FLOPs ratio of that modality's samples.
        trials: distinct feasible policies evaluated.
        refused: rule (or ``over_budget``) -> policies refused before they ran.
        failed: trials whose mechanism raised.
        seconds: wall time of this call.
        hypervolume: of the front on the search split, reference point chance accuracy and FLOPs ratio 1.
        study: name to resume or show.
        storage: URL of the Optuna storage.
        mlflow_uri: URI of the tracking store, or None.
        figures: paths of the front figures.
        exhausted: whether the space ran out of new feasible policies.
        raced: policies given up on part of the samples.
        forwards: samples of the search split that were run, each under one policy; ``saved``: that races and shared
            parts spared, against running every policy that ran or was given up on the whole split; ``watched``: run
            to predict conflicts, which is not among them.
        audited: of the stacks refused since they were predicted to conflict, ``run`` all the same, and of these
            ``right``: no better than what is known at no more than their cost.
    """

    policy: Path
    front: tuple[FrontRow, ...]
    uncompressed: Mapping[str, Interval]
    floors: Mapping[str, float]
    trials: int
    refused: Mapping[str, int]
    failed: int
    seconds: float
    hypervolume: float
    study: str
    storage: str
    mlflow_uri: str | None
    figures: tuple[Path, ...] = ()
    exhausted: bool = False
    raced: int = 0
    forwards: int = 0
    saved: int = 0
    watched: int = 0
    audited: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One document for ``--json``."""
        return {
            "policy": str(self.policy),
            "front": [row.to_json() for row in self.front],
            "uncompressed": {key: list(value) for key, value in self.uncompressed.items()},
            "floors": dict(self.floors),
            "trials": self.trials,
            "refused": dict(self.refused),
            "failed": self.failed,
            "seconds": self.seconds,
            "hypervolume": self.hypervolume,
            "study": self.study,
            "storage": self.storage,
            "mlflow_uri": self.mlflow_uri,
            "figures": [str(path) for path in self.figures],
            "exhausted": self.exhausted,
            "raced": self.raced,
            "forwards": self.forwards,
            "saved": self.saved,
            "watched": self.watched,
            "audited": dict(self.audited),
        }


class SearchProgress:
    """Told how a search goes; does nothing itself."""

    def on_phase(self, name: str) -> None:
        """A phase begins: ``uncompressed``, ``search``, ``val`` or ``test``."""

    def on_trial(self, done: int, total: int, eta: float, front: Sequence[FrontRow]) -> None:
        """A trial ended: feasible ones done, asked for, seconds that are left by the pace so far, the running front."""

    def on_event(self, message: str) -> None:
        """Something worth a line: a trial failed, the space is exhausted."""


@dataclass(frozen=True)
class TrialRecord:
    """A feasible trial that ran, as stored."""

    number: int
    policy: Policy
    origin: str
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float
    tokens: Mapping[str, float]
    guide: float


def pareto(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Records that no other beats in accuracy and FLOPs ratio, cheapest first."""
    front: list[TrialRecord] = []
    for record in sorted(records, key=lambda r: (r.flops_ratio, -r.accuracy, r.number)):
        if not front or record.accuracy > front[-1].accuracy:
            front.append(record)
    return front


def choose(
    records: Sequence[TrialRecord], evaluator: Evaluator, *, limit: int | None = None, ranked: int = RANKED
) -> TrialRecord:
    """The best on the validation split among the best on the search split.

    Half of the candidates are the most accurate on search; the other half give the right answers the highest
    probability, since the most accurate on few samples is partly the luckiest.

    Args:
        records: that may be chosen, at least one.
        evaluator: runs the candidates.
        limit: validation samples of each modality group; None for all.
        ranked: candidates.
    """
    accurate = sorted(records, key=lambda r: (-r.accuracy, r.flops_ratio, r.number))
    likely = sorted(records, key=lambda r: (-r.guide, r.flops_ratio, r.number))
    candidates = {r.number: r for r in [*accurate[: (ranked + 1) // 2], *likely[: ranked // 2]]}
    scored = []
    for record in candidates.values():
        results = evaluator.run(record.policy, "val", limit=limit)
        scored.append((-results.mean(), -results.guide(), record.number, record))
    return min(scored, key=lambda row: row[:3])[3]


def hypervolume(points: Sequence[tuple[float, float]], chance: float) -> float:
    """Area between (accuracy, FLOPs ratio) points and the reference point (chance accuracy, 1.0)."""
    import moocore

    inside = [(-accuracy, cost) for accuracy, cost in points if accuracy > chance and cost < 1.0]
    if not inside:
        return 0.0
    return float(moocore.hypervolume(np.array(inside), ref=np.array([-chance, 1.0])))


def search(
    evaluator: Evaluator,
    *,
    space: SearchSpace | str | Path | None = None,
    budget: float | None = None,
    budgets: Mapping[str, float] | None = None,
    budget_ms: float | None = None,
    budget_kv: float | None = None,
    latency: LatencyModel | None = None,
    trials: int | None = None,
    seed: int | None = None,
    name: str = "tiny-omni",
    study_name: str | None = None,
    resume: bool = False,
    sampler: Sampler = "parts",
    races: bool = True,
    predict_conflicts: bool = True,
    runs: str | Path = "runs",
    out_dir: str | Path = "policies",
    search_limit: int | None = None,
    val_limit: int | None = None,
    test_limit: int | None = None,
    ranked: int = RANKED,
    reported: int = 2,
    track: bool = True,
    tracking_uri: str | None = None,
    progress: SearchProgress | None = None,
) -> SearchResult:
    """Search the best policies of a model under a budget of FLOPs, milliseconds or KV bytes, and export one.

    Args:
        evaluator: runs policies.
        space: what may be proposed, or its file; None takes ``search_spaces/default.yaml``.
        budget: largest FLOPs ratio, in (0, 1]; if None 0.5, or 1 beside a budget of milliseconds or KV bytes.
        budgets: modality -> largest FLOPs ratio of that modality's own samples.
        budget_ms: largest predicted prefill of a sample by itself, in milliseconds, on the average.
        budget_kv: largest ratio of the bytes of keys and values after prefill, in (0, 1].
        latency: predicts prefill times; needed for ``budget_ms``, and shown beside the front where it is given.
        trials: distinct feasible policies to evaluate, those not counted that are put together from parts that ran; 60
            if None. A resumed study may ask for more.
        seed: of the sampler; 0 if None. Same seed, same policy file.
        name: of the model, in the names of study and policy file.
        study_name: in place of ``name-b<budget>-s<seed>``.
        resume: go on with the latest study of that name; its stored settings hold, and contradicting ones are refused.
        sampler: who proposes: ``parts``, the search's own; ``tpe``, ``nsga2``, ``nsga3``, ``gp`` or ``random`` of
            Optuna; ``gsearch``, ``vflowopt`` or ``fitprune``, published searches of decoder schedules.
        races: whether policies start on few samples and are given up when the front is better there.
        predict_conflicts: whether stacks that are predicted to conflict are refused, all but every eighth.
        runs: folder of ``studies.db``, of per-sample results and of MLflow's local store.
        out_dir: folder of the policy file.
        search_limit, val_limit, test_limit: samples of each modality group to use of a split; None takes all.
        ranked: policies ranked on the validation split.
        reported: policies of the front measured on the test split.
        track: whether to log to MLflow, at ``tracking_uri`` or in ``runs/mlflow.db``.
        progress: told how it goes.

    Raises:
        SearchError: settings are out of range, no policy can meet the budget, or a resumed study differs.
        SpaceError: the space is malformed or does not fit the model.
        SearchInterrupted: on Ctrl-C; everything is saved.
    """
    if sampler not in SAMPLERS:
        raise SearchError(f"sampler: {sampler!r} given; {', '.join(SAMPLERS)} are allowed")
    started = time.monotonic()
    session = _Session(
        evaluator,
        runs=Path(runs),
        progress=progress or SearchProgress(),
        given={
            "budget": budget,
            "budgets": None if budgets is None else dict(sorted(budgets.items())),
            "budget_ms": budget_ms,
            "budget_kv": budget_kv,
            "latency": None if latency is None else latency.model_dump_json(),
            "seed": seed,
            "search_limit": search_limit,
            "space": None if space is None else _load_space(space).to_yaml(),
        },
        trials=trials,
        name=name,
        study_name=study_name,
        resume=resume,
        sampler=sampler,
        races=races,
        predict_conflicts=predict_conflicts,
    )
    try:
        tracker = session.tracker(tracking_uri) if track else None
        with tracker or nullcontext():
            session.loop(tracker)
            return session.finish(
                tracker,
                out_dir=Path(out_dir),
                limits={"search": session.search_limit, "val": val_limit, "test": test_limit},
                ranked=ranked,
                reported=reported,
                started=started,
            )
    except KeyboardInterrupt as error:
        raise SearchInterrupted(session.study_name, session.counted, session.trials) from error


def list_studies(runs: str | Path = "runs") -> list[str]:
    """Names of the stored studies, in order of their making."""
    if not (Path(runs) / "studies.db").exists():
        return []
    return _names(_optuna().storages.RDBStorage(_storage_url(Path(runs))))


def load_trials(study: str, runs: str | Path = "runs") -> list[TrialRecord]:
    """The feasible trials of a stored study, in order.

    Raises:
        SearchError: there is no such study.
    """
    known = list_studies(runs)
    if study not in known:
        raise _unknown_study(study, Path(runs), known)
    return list(_records(_optuna().load_study(study_name=study, storage=_storage_url(Path(runs)))))


def load_front(study: str, runs: str | Path = "runs") -> list[TrialRecord]:
    """The front of a stored study on its search split, cheapest first; raises as `load_trials`."""
    return pareto(load_trials(study, runs))


def _gate(evaluator: Evaluator) -> Gate | None:
    """Asked of every new stack: why it is predicted to do worse than the better of its stages."""
    from autotc.conflicts.predicted import CONFLICT_THRESHOLD, predict

    observable = evaluator.observable()
    if observable is None:
        return None  # there is no model to watch

    def ask(stack: Policy) -> str | None:
        found = predict(observable, stack)
        return found.reason if found.score > CONFLICT_THRESHOLD else None

    return ask


def _watched(evaluator: Evaluator) -> int:
    """Samples that were run to predict conflicts since the evaluator was made."""
    from autotc.conflicts.predicted import forwards_run

    return forwards_run(evaluator)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("optuna: not installed; pip install 'autotc[search]' brings it") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _storage_url(runs: Path) -> str:
    return f"sqlite:///{runs / 'studies.db'}"


def _names(storage: optuna.storages.BaseStorage) -> list[str]:
    studies = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    return [study.study_name for study in studies]


def _unknown_study(study: str, runs: Path, known: Sequence[str]) -> SearchError:
    return SearchError(f"study: {study!r} is not in {runs / 'studies.db'}; known: {', '.join(known) or 'none'}")


def _load_space(space: SearchSpace | str | Path) -> SearchSpace:
    return space if isinstance(space, SearchSpace) else SearchSpace.load(space)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.\-]+", "-", text, flags=re.ASCII).strip("-.") or "model"


def _ratio(field_name: str, value: float) -> float:
    if not (isinstance(value, int | float) and math.isfinite(value) and 0 < value <= 1):
        raise SearchError(f"{field_name}: {value!r} given; a FLOPs ratio in (0, 1] is allowed")
    return float(value)


def _records(study: optuna.Study) -> Iterator[TrialRecord]:
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs.get(RECORD, {})
        if trial.state.name != "COMPLETE" or not attrs or any(v > 0 for v in trial.constraints.values()):
            continue
        yield TrialRecord(
            trial.number,
            Policy.from_yaml(attrs["policy"], f"trial {trial.number}"),
            attrs["origin"],
            trial.values[0],
            attrs["accuracy"],
            trial.values[1],
            attrs["tokens"],
            attrs["guide"],
        )


def _interval(results: Results) -> Interval:
    """Mean over modality groups with a 95% interval from resampling each group."""
    return mean_of_groups_interval(list(results.groups("modality").values()))


def _suffix(settings: Mapping[str, Any]) -> str:
    """A study's budgets in the names of its files: ``0.5``, ``0.5-image0.4``, ``300ms``, ``0.7-kv0.3``."""
    others = settings["budget_ms"] is not None or settings["budget_kv"] is not None
    parts = [] if others and settings["budget"] == 1.0 else [f"{settings['budget']:g}"]
    parts += [f"{modality}{value:g}" for modality, value in settings["budgets"].items()]
    parts += [f"{settings['budget_ms']:g}ms"] if settings["budget_ms"] is not None else []
    parts += [f"kv{settings['budget_kv']:g}"] if settings["budget_kv"] is not None else []
    return "-".join(parts)


class _Session:
    """One call of `search`: the stored study, the sampler's own study in memory, and what is known so far.

    The sampler asks and forgets in memory; only policies that ran, failed or were refused are stored, each complete in
    one transaction. So an interruption leaves no half-written trial, and a proposal moved onto the budget is stored as
    it ran.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        runs: Path,
        progress: SearchProgress,
        given: Mapping[str, Any],
        trials: int | None,
        name: str,
        study_name: str | None,
        resume: bool,
        sampler: Sampler,
        races: bool,
        predict_conflicts: bool,
    ) -> None:
        self.optuna = _optuna()
        self.evaluator, self.runs, self.progress, self.sampler = evaluator, runs, progress, sampler
        if trials is not None and trials < 1:
            raise SearchError(f"trials: {trials} given; at least 1 is allowed")
        settings = {
            "budget": BUDGET if given["budget_ms"] is None and given["budget_kv"] is None else 1.0,
            "budgets": {},
            "budget_ms": None,
            "budget_kv": None,
            "latency": None,
            "seed": 0,
            "search_limit": None,
            "trials": TRIALS,
            **{key: value for key, value in given.items() if value is not None},
        }
        self.base_name = study_name or f"{_slug(name)}-b{_suffix(settings)}-s{settings['seed']}"
        settings.update(policy_name=f"{_slug(name)}-{_suffix(settings)}", base_name=self.base_name, sampler=sampler)
        settings.update(races=races, predict_conflicts=predict_conflicts)
        if not resume and "space" not in settings:
            settings["space"] = SearchSpace.load(search_space()).to_yaml()
        if trials is not None:
            settings["trials"] = trials
        info = evaluator.info("search")
        settings["samples_sha256"] = info.sha256
        settings["fingerprint"] = evaluator.model.fingerprint
        self.chance_by_task = info.chance
        if not resume:
            self._check(settings)
            self._configure(settings)
        runs.mkdir(parents=True, exist_ok=True)
        self.url = _storage_url(runs)
        self._open(settings, given, trials, resume)
        self._configure(self.settings)
        self.folder = runs / self.study_name
        self._load()

    def _check(self, settings: Mapping[str, Any]) -> None:
        _ratio("budget", settings["budget"])
        for modality, value in settings["budgets"].items():
            _ratio(f"budgets.{modality}", value)
            if modality not in self.evaluator.modalities:
                held = ", ".join(self.evaluator.modalities)
                raise SearchError(f"budgets.{modality}: the data holds no such modality; it holds {held}")
            groups = self.evaluator.info("search").samples
            if modality not in groups:
                raise SearchError(
                    f"budgets.{modality}: the data has no samples of {modality} alone; it has {', '.join(groups)}"
                )
        if settings["budget_kv"] is not None:
            _ratio("budget_kv", settings["budget_kv"])
        wanted = settings["budget_ms"]
        if wanted is not None and not (math.isfinite(wanted) and wanted > 0):
            raise SearchError(f"budget_ms: {wanted!r} given; milliseconds above 0 are allowed")
        if wanted is not None and settings["latency"] is None:
            raise SearchError("budget_ms: given without a latency model; autotc bench --calibrate makes one")

    def _configure(self, settings: Mapping[str, Any]) -> None:
        """Take the settings over; refuses a budget that no location of the space reaches."""
        self.seed: int = settings["seed"]
        self.trials: int = settings["trials"]
        self.search_limit: int | None = settings["search_limit"]
        if settings.get("races"):
            announce(self.evaluator, self.search_limit)
        self.floors = {f"{m}/{loc}": value for (m, loc), value in self.evaluator.floors("search").items()}
        full = SearchSpace.from_yaml(settings["space"], "space")
        self.space = full.fit(self.evaluator.modalities, self.evaluator.depths)
        stored = settings["latency"]
        self.latency = None if stored is None else LatencyModel.model_validate_json(stored)
        self.costs = Costs(self.evaluator, self.latency)
        time = self._time(settings["budget_ms"])
        self.budget = Budget(settings["budget"], settings["budgets"], time, settings["budget_kv"])
        self.policy_name: str = settings["policy_name"]
        self._check_floors()

    def _time(self, milliseconds: float | None) -> float | None:
        """A budget in milliseconds relative to the uncompressed model's prediction."""
        latency = self.latency
        if latency is None:
            return None
        lacking = latency.lacking(
            place(choice.mechanism, choice.location, modality)
            for modality, part in self.space.modalities.items()
            for choice in part.choices
            if choice.location != "input"
        )
        if lacking:
            more = f" and {len(lacking) - 3} others" if len(lacking) > 3 else ""
            raise SearchError(
                f"latency: the space has {', '.join(lacking[:3])}{more}, which the latency model does not know;"
                " autotc bench --calibrate --mechanisms NAMES learns them"
            )
        usual = self.costs(UNCOMPRESSED).milliseconds
        assert usual is not None  # there is a latency model
        if milliseconds is not None and milliseconds >= usual:
            raise SearchError(
                f"budget_ms: {milliseconds:g} given; uncompressed, a sample is predicted to take {usual:.4g} ms already"
            )
        return None if milliseconds is None else milliseconds / usual

    def _check_floors(self) -> None:
        lowest = {
            modality: min(self.floors.get(f"{modality}/{choice.location}", 1.0) for choice in part.choices)
            for modality, part in self.space.modalities.items()
        }
        for modality, floor in lowest.items():
            if self.budget.by.get(modality, 1.0) < floor:
                raise SearchError(
                    f"budgets.{modality}: {self.budget.by[modality]:g} given; no location reaches below {floor:.3f}"
                )
        pure = set(lowest) <= set(self.evaluator.info("search").samples)
        if pure and self.budget.overall < min(lowest.values()):
            raise SearchError(
                f"budget: {self.budget.overall:g} given; no location reaches below {min(lowest.values()):.3f}"
            )

    def _open(self, settings: dict[str, Any], given: Mapping[str, Any], trials: int | None, resume: bool) -> None:
        """Make the stored study, or find the one to resume and hold the settings against it."""
        # Opened once: opening checks the schema, which takes a while.
        storage = self.optuna.storages.RDBStorage(self.url)
        known = _names(storage)
        pattern = re.compile(re.escape(self.base_name) + r"(~\d+)?")
        same = [study for study in known if pattern.fullmatch(study)]
        if not resume:
            # A second study of the same settings stands beside the first; policies carry the name without the number,
            # so that equal searches write equal files.
            self.study_name = self.base_name if not same else f"{self.base_name}~{len(same) + 1}"
            self.stored = self.optuna.create_study(
                study_name=self.study_name, storage=storage, directions=["maximize", "minimize"]
            )
            self.settings = settings
            self.stored.set_user_attr("settings", self.settings)
            return
        if not same:
            raise _unknown_study(self.base_name, self.runs, known)
        self.study_name = self.base_name if self.base_name in known and "~" in self.base_name else same[-1]
        self.stored = self.optuna.load_study(study_name=self.study_name, storage=storage)
        stored: dict[str, Any] = self.stored.user_attrs["settings"]
        for key, value in given.items():
            if value is not None and value != stored[key]:
                shown, own = ("another", "its own") if key == "space" else (repr(value), repr(stored[key]))
                raise SearchError(f"{key}: {shown} given; study {self.study_name} was made with {own}")
        for key, what in (("samples_sha256", "samples"), ("fingerprint", "weights or model")):
            if settings[key] != stored[key]:
                raise SearchError(f"study {self.study_name}: was made with other {what}; start a new one")
        self.settings = {**stored, **({} if trials is None else {"trials": trials})}
        self.sampler = stored["sampler"]
        self.base_name = stored["base_name"]

    def _load(self) -> None:
        """Read what the stored study holds, into a fresh engine and strategy."""
        self.engine = Engine(
            self.evaluator,
            self.space,
            self.budget,
            self.costs,
            limit=self.search_limit,
            races=self.settings.get("races", False),
            gate=_gate(self.evaluator) if self.settings.get("predict_conflicts") else None,
        )
        self.records: list[TrialRecord] = list(_records(self.stored))
        self.refused: dict[str, int] = {}
        self.raced = self.failed = self.counted = self.watched = 0
        self.audited: list[tuple[str, str]] = []
        stored = self.stored.get_trials(deepcopy=False)
        self.stored_count = len(stored)
        # A resumed study does not repeat the draws of its beginning.
        self.strategy = build_strategy(self.sampler, self.seed + 1_000_003 * len(stored), self._fitted)
        for trial in stored:
            record = trial.user_attrs.get(RECORD, {})
            if "hash" not in record:
                continue
            self.engine.tried.add(record["hash"])
            if "refused" in record:
                rule = record["refused"]
                self.refused[rule] = self.refused.get(rule, 0) + 1
            self.watched += record.get("watched", 0)
            self.raced += "raced" in record
            self.counted += trial.state.name == "COMPLETE" and record.get("ran", True)
            self.failed += trial.state.name == "FAIL"
            if record.get("audited"):
                self.audited.append((record["hash"], "raced" if "raced" in record else "ran"))
        self.counter = _watched(self.evaluator)

    def _restore(self) -> None:
        """Give engine and strategy what the stored trials have seen."""
        for trial in self.stored.get_trials(deepcopy=False):
            record = trial.user_attrs.get(RECORD, {})
            if "hash" not in record:
                continue
            policy = Policy.from_yaml(record["policy"], f"trial {trial.number}")
            path = self._samples_file(policy)
            results = Results.load(path) if path.exists() else None
            whole = trial.state.name == "COMPLETE"
            if results is not None:
                self.engine.restore(policy, results, whole)
            outcome: Outcome = "refused" if "refused" in record else "raced" if "raced" in record else "ran"
            if trial.state.name == "FAIL":
                outcome = "failed"
            if outcome == "failed" or record.get("refused") == PREDICTED:
                self.engine.bar(policy)
            self.engine.gated += record.get("refused") == PREDICTED or bool(record.get("audited"))
            cost = self.costs(policy) if results is not None else None
            constraints = dict(trial.constraints)
            self.strategy.learn(
                self.engine,
                Attempt(outcome, record["origin"], policy, constraints=constraints, results=results, cost=cost),
            )

    def _samples_file(self, policy: Policy) -> Path:
        return self.folder / "trials" / f"{policy.content_hash()}.samples.parquet"

    def _fitted(self, modality: Modality, keep: float) -> list[float] | None:
        """FitPrune's schedule on this model, the keep ratio before each layer; None where none leaves so little."""
        from autotc.evaluate.fitting import fit_fitprune

        observable = self.evaluator.observable()
        if observable is None:
            raise SearchError("sampler: fitprune reads a model's attention, which this evaluator does not offer")
        try:
            fitted = fit_fitprune(observable, modality, keep)
        except PolicyError:
            return None
        steps = {layer or 0: ratio for stage in fitted.stages for layer, ratio in stage.steps()}
        ratios, now = [], 1.0
        for layer in range(self.evaluator.depths.decoder):
            now = steps.get(layer, now)
            ratios.append(now)
        return ratios

    def tracker(self, uri: str | None) -> Tracker:
        """Open the parent run of this study."""
        info = self.evaluator.info("search")
        params = {
            "model": self.evaluator.model.architecture,
            "fingerprint": self.evaluator.model.fingerprint,
            "evaluator": self.evaluator.name,
            "budget": self.budget.overall,
            **{f"budget.{m}": value for m, value in self.budget.by.items()},
            "budget.ms": self.settings["budget_ms"],
            "budget.kv": self.settings["budget_kv"],
            "trials": self.trials,
            "sampler": self.sampler,
            "seed": self.seed,
            "split_seed": self.evaluator.seed,
            "search_limit": self.search_limit,
            "samples": json.dumps(info.samples),
            "dataset_sha256": info.sha256,
            "version": version(),
        }
        run_id = self.stored.user_attrs.get("mlflow_run")
        tracker = Tracker(self.study_name, root=self.runs, uri=uri, params=params, run_id=run_id)
        if tracker.run_id != run_id:
            self.stored.set_user_attr("mlflow_run", tracker.run_id)
        return tracker

    # -- the loop --------------------------------------------------------------------------------------------------

    def loop(self, tracker: Tracker | None) -> None:
        """Evaluate policies until enough distinct feasible ones have run."""
        self.uncompressed = self._uncompressed()
        self.engine.start(self.uncompressed)
        self._restore()
        self.chance = self._chance(self.uncompressed)
        self.exhausted = False
        self.progress.on_phase("search")
        seeds = self._seeds()
        stalled = failures = 0
        began, before = time.monotonic(), self.counted
        while self.counted < self.trials:
            proposal = next(seeds, None) or self.strategy.propose(self.engine)
            attempt, spent = None, self.engine.spent
            if proposal is not None:
                attempt = self.engine.attempt(*proposal, race=":" not in proposal[0])
            if attempt is not None:
                # What is put together from known parts runs nothing, and is no trial that was asked for.
                self._keep(attempt, tracker, ran=self.engine.spent > spent)
                self.strategy.learn(self.engine, attempt)
                failures += attempt.outcome == "failed"
                if failures >= _FAILURES:
                    raise SearchError(f"{failures} trials in a row failed; the last: {attempt.reason}")
            if attempt is None or attempt.outcome in ("known", "refused", "failed"):
                stalled += 1
                if stalled >= _STALLED or attempt is None:
                    self.exhausted = True
                    self.progress.on_event(f"no new feasible policy in {stalled} proposals: the space is exhausted")
                    return
                continue
            stalled = failures = 0
            if attempt.outcome == "ran":
                pace = (time.monotonic() - began) / max(1, self.counted - before)
                eta = pace * (self.trials - self.counted)
                shown = [self._row(r) for r in pareto(self.records)]
                self.progress.on_trial(self.counted, self.trials, eta, shown)

    def _seeds(self) -> Iterator[tuple[str, Policy]]:
        depths, locations = self.evaluator.depths, self.engine.locations
        for origin, policy in seed_policies(self.space, depths, locations, self.costs, self.budget):
            if policy.content_hash() not in self.engine.tried:  # a resumed study has had them
                yield origin, policy

    def _keep(self, attempt: Attempt, tracker: Tracker | None, *, ran: bool) -> None:
        """Store an attempt, whole, in one transaction."""
        if attempt.outcome == "known":
            return
        policy, results, cost = attempt.policy, attempt.results, attempt.cost
        attrs: dict[str, Any] = {"hash": policy.content_hash(), "origin": attempt.origin, "policy": policy.to_yaml()}
        watched = _watched(self.evaluator)
        if watched > self.counter:
            attrs["watched"] = watched - self.counter
            self.watched, self.counter = self.watched + watched - self.counter, watched
        if attempt.audited:
            attrs["audited"] = True
            self.audited.append((attrs["hash"], attempt.outcome))
        number, self.stored_count = self.stored_count, self.stored_count + 1
        state, values = {"ran": "COMPLETE", "failed": "FAIL"}.get(attempt.outcome, "PRUNED"), None
        if attempt.outcome == "refused":
            attrs.update(refused=attempt.rule, reason=attempt.reason)
            self.refused[attempt.rule] = self.refused.get(attempt.rule, 0) + 1
        elif attempt.outcome == "failed":
            attrs["error"] = attempt.reason
            self.failed += 1
            self.progress.on_event(f"trial {number} failed: {attempt.reason}")
        else:
            assert results is not None  # it ran
            assert cost is not None
            results.save(self._samples_file(policy))
            by = {key: float(groups.mean()) for key, groups in results.groups("modality").items()}
            tasks = {key: float(groups.mean()) for key, groups in results.groups("task").items()}
            attrs.update(
                accuracy=by,
                guide=results.guide(),
                divergence=results.divergence(),
                tasks=tasks,
                tokens=dict(cost.tokens),
                flops_ratio_by=dict(cost.flops_ratio_by),
                scoring_share=cost.scoring_share,
                samples=len(results),
            )
            if attempt.outcome == "raced":
                attrs["raced"] = attempt.reason
                self.raced += 1
            else:
                values = (results.mean(), cost.flops_ratio)
                attrs["ran"] = ran
                self.counted += ran
                record = TrialRecord(
                    number, policy, attempt.origin, results.mean(), by, cost.flops_ratio, dict(cost.tokens),
                    results.guide(),
                )  # fmt: skip
                self.records.append(record)
        from autotc.search.strategies.sampled import frozen

        self.stored.add_trial(frozen(self.space, policy, state, values, attempt.constraints, {RECORD: attrs}))
        if tracker is None or attempt.outcome == "refused":
            return
        params = {"origin": attempt.origin, "seed": self.seed, "outcome": attempt.outcome}
        if attempt.outcome == "failed":
            tracker.trial(number, policy, params=params, error=attempt.reason)
            return
        assert results is not None  # it ran
        assert cost is not None
        # Of a policy that was given up: what the samples it saw let expect.
        mean = results.mean() if attempt.outcome == "ran" else self.engine.estimate(policy)
        metrics = self._metrics(attrs["accuracy"], attrs["tasks"], mean, cost)
        metrics.update(guide=results.guide(), samples=len(results))
        if math.isfinite(results.divergence()):
            metrics["divergence"] = results.divergence()
        tracker.trial(number, policy, metrics=metrics, params=params)
        if attempt.outcome == "ran":
            tracker.curve("hypervolume", self._hypervolume(), len(self.records))

    def _metrics(
        self, by: Mapping[str, float], tasks: Mapping[str, float], mean: float, cost: SplitCost
    ) -> dict[str, float]:
        return {
            "accuracy": mean,
            **{f"accuracy/{key}": value for key, value in by.items()},
            **{f"task/{key}": value for key, value in tasks.items()},
            "flops_ratio": cost.flops_ratio,
            **{f"flops_ratio/{key}": value for key, value in cost.flops_ratio_by.items()},
            **{f"tokens/{key}": value for key, value in cost.tokens.items()},
            "flops": cost.flops,
            "kv_bytes": cost.kv_bytes,
            "kv_ratio": cost.kv_ratio,
            **({} if cost.milliseconds is None else {"predicted_ms": cost.milliseconds}),
            "scoring_share": cost.scoring_share,
        }

    def _uncompressed(self) -> Results:
        path = self.folder / "uncompressed.samples.parquet"
        if path.exists():
            found = Results.load(path)
            if self.sampler != "vflowopt":
                return found
            # Divergences are from what the uncompressed model predicts, which is not stored.
        self.progress.on_phase("uncompressed")
        results = self.evaluator.run(UNCOMPRESSED, "search", limit=self.search_limit)
        results.save(path)
        self.stored.set_user_attr("uncompressed", results.mean())
        return results

    def _chance(self, results: Results) -> float:
        """Accuracy of guessing, as the mean over modality groups."""
        groups: dict[str, list[float]] = {}
        for sample in results.samples:
            groups.setdefault(sample.modality, []).append(self.chance_by_task.get(sample.task, 0.0))
        return float(np.mean([np.mean(values) for values in groups.values()]))

    def _hypervolume(self) -> float:
        return hypervolume([(r.accuracy, r.flops_ratio) for r in pareto(self.records)], self.chance)

    def _row(self, record: TrialRecord) -> FrontRow:
        by = {key: Interval(value, value, value) for key, value in record.accuracy_by.items()}
        label = record.policy.label()
        return FrontRow("", label, record.accuracy, by, record.flops_ratio, record.number, record.tokens)

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(
        self,
        tracker: Tracker | None,
        *,
        out_dir: Path,
        limits: Mapping[Split, int | None],
        ranked: int,
        reported: int,
        started: float,
    ) -> SearchResult:
        """Rank on val, report on test, export."""
        if not self.records:
            raise SearchError(
                f"no policy of the space meets the budget {self.budget.overall:g}; refused: {self.refused or 'none'}"
            )
        front = pareto(self.records)
        chosen = self._choose(limits["val"], ranked)
        self.progress.on_phase("test")
        shown = front
        if len(front) > reported:
            shown = [front[round(i * (len(front) - 1) / max(1, reported - 1))] for i in range(reported)]
            shown = list({r.number: r for r in shown}.values())
        if chosen not in shown:
            shown = sorted([*shown, chosen], key=lambda r: r.flops_ratio)
        baseline = self.evaluator.run(UNCOMPRESSED, "test", limit=limits["test"])
        baseline.save(self.folder / "uncompressed.test.samples.parquet")
        path = out_dir / f"{self.policy_name}.yaml"
        rows: list[FrontRow] = []
        artefacts: list[Path] = []
        for record in shown:
            results = self.evaluator.run(record.policy, "test", limit=limits["test"])
            is_chosen = record is chosen
            measured = self._measured(record, results)
            files = [self.folder / "front" / f"trial-{record.number}.yaml", *([path] if is_chosen else [])]
            for file in files:
                measured.save(file)
                results.save(file.with_suffix(".samples.parquet"))
            if is_chosen:
                artefacts = [path, path.with_suffix(".samples.parquet")]
            cost = self.costs(record.policy, "test")
            rows.append(
                FrontRow(
                    str(files[-1]),
                    record.policy.label(),
                    results.mean(),
                    results.accuracy("modality"),
                    cost.flops_ratio,
                    record.number,
                    dict(cost.tokens),
                    "test",
                    results.difference(baseline),
                    is_chosen,
                    cost.kv_ratio,
                    cost.milliseconds,
                    record.accuracy,
                )
            )
        figures = self._figures()
        volume = self._hypervolume()
        if tracker is not None:
            best = next(row for row in rows if row.chosen)
            metrics = {
                "hypervolume": volume,
                "trials": len(self.records),
                "failed": self.failed,
                "raced": self.raced,
                "forwards": self.engine.spent,
                "watched": self.watched,
                "search/accuracy": next(r.accuracy for r in self.records if r.number == best.trial),
                "test/accuracy": best.accuracy,
                "test/flops_ratio": best.flops_ratio,
                "test/uncompressed": baseline.mean(),
                **{f"test/accuracy/{key}": value[0] for key, value in best.accuracy_by.items()},
                **{f"refused/{rule}": count for rule, count in self.refused.items()},
            }
            tracker.finish(metrics=metrics, front=[_flat(row) for row in rows], artefacts=[*artefacts, *figures])
        return SearchResult(
            policy=path,
            front=tuple(rows),
            uncompressed=baseline.accuracy("modality"),
            floors=self.floors,
            trials=len(self.records),
            refused=dict(sorted(self.refused.items())),
            failed=self.failed,
            seconds=time.monotonic() - started,
            hypervolume=volume,
            study=self.study_name,
            storage=self.url,
            mlflow_uri=tracker.uri if tracker is not None else None,
            figures=tuple(figures),
            exhausted=self.exhausted,
            raced=self.raced,
            forwards=self.engine.spent,
            saved=len(self.uncompressed) * (len(self.records) + self.raced) - self.engine.spent,
            watched=self.watched,
            audited=self._audited(),
        )

    def _audited(self) -> dict[str, int]:
        """Stacks that were refused as conflicts and run all the same; how many of these refusals were right."""
        if not self.audited:
            return {}
        policies = {record.policy.content_hash(): record.policy for record in self.records}
        right = 0
        for hash_, outcome in self.audited:
            stacks = [] if outcome == "raced" else [policies[hash_].modality(m) for m in policies[hash_].modalities]
            right += outcome == "raced" or not any(
                len(stack) > 1 and self._on_front(Policy(stages=stack)) for stack in stacks
            )
        return {"run": len(self.audited), "right": right}

    def _on_front(self, stack: Policy) -> bool:
        group = self.engine.home(stack.stages[0].modality)
        return any(entry.policy.content_hash() == stack.content_hash() for entry in self.engine.pool.front(group))

    def _choose(self, limit: int | None, ranked: int) -> TrialRecord:
        """The best on val among the best on search that meet the budget on every split."""
        self.progress.on_phase("val")
        splits: tuple[Split, ...] = ("val", "test")
        fitting = [r for r in self.records if all(self._met(self.costs(r.policy, split)) for split in splits)]
        if not fitting:
            self.progress.on_event(
                "no policy keeps within the budget on validation and test; the best on search is near"
            )
            fitting = self.records
        return choose(fitting, self.evaluator, limit=limit, ranked=ranked)

    def _met(self, cost: SplitCost) -> bool:
        """Whether a cost on any split keeps within the budget; milliseconds are absolute."""
        limit = self.settings["budget_ms"]
        return self.budget.met(cost) and (limit is None or cost.milliseconds is None or cost.milliseconds <= limit)

    def _measured(self, record: TrialRecord, results: Results) -> Policy:
        """The policy with what was measured of it on the test split."""
        cost = self.costs(record.policy, "test")
        measured = Measured(
            evaluator=self.evaluator.name,
            split="test",
            samples=results.counts(),
            seed=self.evaluator.seed,
            samples_sha256=self.evaluator.info("test").sha256,
            accuracy={
                key: Interval(round(mean, 6), round(low, 6), round(high, 6))
                for key, (mean, low, high) in results.accuracy("modality").items()
            },
            flops_ratio=round(cost.flops_ratio, 6),
            kv_ratio=round(cost.kv_ratio, 6),
            predicted_ms=None if cost.milliseconds is None else round(cost.milliseconds, 4),
            study=self.base_name,
            trial=record.number,
        )
        return record.policy.model_copy(update={"model": self.evaluator.model, "measured": measured})

    def _figures(self) -> list[Path]:
        points = [
            Point(r.policy.label(), main_family(r.policy), r.accuracy, r.flops_ratio, r.number) for r in self.records
        ]
        title = f"{self.study_name}: {len(points)} feasible policies"
        figure = FrontFigure(title, points, _interval(self.uncompressed), self.budget.overall)
        return [front_png(figure, self.folder / "front.png"), front_html(figure, self.folder / "front.html")]


def _flat(row: FrontRow) -> dict[str, Any]:
    """A front row as one flat table row."""
    out: dict[str, Any] = {
        "trial": row.trial,
        "policy": row.label,
        "chosen": row.chosen,
        "accuracy": row.accuracy,
        "flops_ratio": row.flops_ratio,
    }
    for key, (mean, low, high) in row.accuracy_by.items():
        out.update({f"accuracy/{key}": mean, f"accuracy/{key}/low": low, f"accuracy/{key}/high": high})
    out.update({f"tokens/{key}": value for key, value in row.tokens.items()})
    return out
