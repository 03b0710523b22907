"""The search: an ask-and-tell loop over policies whose cost is known before they run, ending in a policy file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.pareto import hypervolume
from autotc.policy import UNCOMPRESSED, Policy
from autotc.results import Results
from autotc.search.account import CONTEXT, describe
from autotc.search.deaths import DeathWatch
from autotc.search.engine import Conduct, Engine, Strategy
from autotc.search.errors import SearchError, SearchInterrupted, SearchStopped
from autotc.search.failures import DEATH
from autotc.search.finish import Ending, finish
from autotc.search.interrupts import termination_interrupts
from autotc.search.locks import hold_study
from autotc.search.opening import check_places, open_study
from autotc.search.outcome import PREDICTED_CONFLICT, Failed, Known, Outcome, Raced, Ran, Refused
from autotc.search.prediction import stack_judge
from autotc.search.problem import Problem
from autotc.search.progress import SearchProgress
from autotc.search.recording import open_tracker, record_trial
from autotc.search.records import restored_outcome, stored_trial, trial_record, trial_state
from autotc.search.result import FrontRow, SearchResult
from autotc.search.sanity import chance_level, check_sanity
from autotc.search.seeds import seed_policies
from autotc.search.settings import SearchOptions, SearchSettings
from autotc.search.storage import State, Study, TrialRecord, trial_front
from autotc.search.strategies import build_strategy
from autotc.search.tally import Tally
from autotc.statistics import Interval
from autotc.tracking import Tracker
from autotc.vocabulary import Modality

if TYPE_CHECKING:
    import optuna

_STALLED = 300
"""Proposals in a row without a new feasible policy after which the space counts as exhausted."""
_FIRST_FAILURES, _FAILURES = 12, 60
"""Trials that may fail in a row before the search gives up: where none has run, and where some have. Then it is not the
mechanisms, of which each is left out that fails whenever it runs."""


def search(
    evaluator: Evaluator | None = None,
    *,
    progress: SearchProgress | None = None,
    **settings: Unpack[SearchOptions],
) -> SearchResult:
    """Search the best policies of a model under a budget of FLOPs, milliseconds or KV bytes, and export one.

    Args:
        evaluator: runs policies; None takes the embedded model on its own benchmark.
        progress: told how it goes.
        **settings: see `SearchSettings`; all may be left out.

    Raises:
        SearchError: settings are unknown or out of range, no policy can meet the budget, or a resumed study differs.
        SpaceError: the space is malformed or does not fit the model.
        SearchInterrupted: on Ctrl-C; everything is saved.

    Example:
        >>> result = autotc.search(budget=0.4, trials=8, search_limit=20, val_limit=20, test_limit=20)
        >>> result.policy
        PosixPath('policies/tiny-omni-0.4.yaml')
    """
    started = time.monotonic()
    asked = SearchSettings.of(settings)
    if evaluator is None:
        evaluator = embedded_evaluator()
    progress = progress or SearchProgress()
    check_places(asked)
    with ExitStack() as stack:
        stack.enter_context(termination_interrupts())
        progress.on_phase("open")
        study, problem = open_study(asked, evaluator)
        stack.enter_context(hold_study(study.folder, study.name))
        session = Session(evaluator, study, problem, asked, progress)
        try:
            tracker = open_tracker(study, problem, evaluator, asked, progress.on_event) if asked.track else None
            with tracker or nullcontext():
                session.run(tracker)
                return finish(session.ending(), asked, tracker, started)
        except (DataError, OSError) as error:
            raise SearchStopped(str(error), study.name) from error
        except KeyboardInterrupt as error:
            raise SearchInterrupted(study.name, session.tally.counted, study.settings.trials) from error
        finally:
            session.deaths.ends()


class Session:
    """One call of `search`: a stored study, a strategy with its own memory, and what is known so far.

    Strategies ask and forget; only policies that ran, failed or were refused are stored, each complete in one
    transaction. So an interruption leaves no half-written trial, and a proposal moved onto the budget is stored as it
    ran.

    Attributes:
        study: where trials are stored.
        records: feasible trials that ran, in order.
        tally: counts over the stored trials.
        uncompressed: the uncompressed model's results on the search split; none before the first run.
        chance: accuracy of guessing, mean over modality groups.
        exhausted: whether the space ran out of new feasible policies.
    """

    def __init__(
        self, evaluator: Evaluator, study: Study, problem: Problem, asked: SearchSettings, progress: SearchProgress
    ) -> None:
        self.study, self.problem = study, problem
        self.deaths = DeathWatch(study)
        self.records: list[TrialRecord] = list(study.records())
        self.tally = Tally()
        self.uncompressed = Results(())
        self.chance = 0.0
        self.exhausted = False
        settings = study.settings
        self._evaluator, self._progress, self._force = evaluator, progress, asked.force
        self._judge = stack_judge(evaluator) if settings.predict_conflicts else None
        self._calibration_forwards = 0
        self._engine = Engine(
            evaluator,
            problem.space,
            problem.budget,
            problem.costs,
            Conduct(
                limit=settings.search_limit,
                races=settings.races,
                predict_conflict=self._judge,
                timeout=asked.trial_timeout,
                before_run=lambda origin, policy: self.deaths.begins(policy),
            ),
        )
        # A resumed study does not repeat the draws of its beginning.
        seed = settings.seed + 1_000_003 * len(study)
        self._strategy: Strategy = build_strategy(settings.sampler, seed, self._fitprune_ratios)
        for trial, stored in study.trials():
            self._engine.tried.add(stored.hash)
            self.tally.add(stored, _state(trial))

    def run(self, tracker: Tracker | None) -> None:
        """Evaluate policies until enough distinct feasible ones have run.

        Raises:
            SearchError: the uncompressed model guesses or is always wrong, many trials in a row failed, or none ran.
        """
        if self.problem.lacking:
            lacking = ", ".join(self.problem.lacking)
            self._progress.on_event(f"left out of the space, since the model offers no such place: {lacking}")
        self.uncompressed = self._run_uncompressed()
        self._engine.start(self.uncompressed)
        self._restore(tracker)
        self._leave_out_fatal(tracker)
        self.chance = chance_level(self.uncompressed, self._evaluator.info("search").chance)
        self.study.note(CONTEXT, describe(self._evaluator, self.chance))
        self._progress.on_phase("search")
        seeds = self._seeds()
        stalled = failures = 0
        began, before = time.monotonic(), self.tally.counted
        while self.tally.counted < self.study.settings.trials:
            outcome = self._step(seeds, tracker)
            if isinstance(outcome, Failed):
                failures += 1
                if failures >= (_FAILURES if self.records or self.tally.raced else _FIRST_FAILURES):
                    raise SearchError(f"{failures} trials in a row failed; the last: {outcome.reason}")
            if outcome is None or isinstance(outcome, Known | Refused | Failed):
                stalled += 1
                if stalled >= _STALLED or outcome is None:
                    self.exhausted = True
                    self._progress.on_event(f"no new feasible policy in {stalled} proposals: the space is exhausted")
                    break
                continue
            stalled = failures = 0
            if isinstance(outcome, Ran):
                self._show(began, before)
        if not self.records:
            raise SearchError(
                f"no policy of the space meets the budget {self.problem.budget.overall:g};"
                f" refused: {self.tally.refused or 'none'}"
            )

    def ending(self) -> Ending:
        """What the end of the search builds on."""
        return Ending(
            evaluator=self._evaluator,
            study=self.study,
            problem=self.problem,
            engine=self._engine,
            records=self.records,
            tally=self.tally,
            uncompressed=self.uncompressed,
            exhausted=self.exhausted,
            hypervolume=self._hypervolume(),
            deaths=self.deaths,
            progress=self._progress,
        )

    def _step(self, seeds: Iterator[tuple[str, Policy]], tracker: Tracker | None) -> Outcome | None:
        """Try the next proposal; None where there is none."""
        proposal = next(seeds, None) or self._strategy.propose(self._engine)
        if proposal is None:
            return None
        origin, policy = proposal
        before, left_out = self._engine.forwards, set(self._engine.failures.left_out)
        outcome = self._engine.attempt(origin, policy, race=":" not in origin)
        # What is put together from known parts runs nothing, and is no trial that was asked for.
        self._keep(outcome, tracker, forwards=self._engine.forwards - before)
        self._strategy.learn(self._engine, outcome)
        for name in sorted(self._engine.failures.left_out - left_out):
            self._progress.on_event(f"{name} failed whenever it ran; the search goes on without it")
        return outcome

    def _leave_out_fatal(self, tracker: Tracker | None) -> None:
        """Fail policies under which the process has ended twice, and leave out mechanisms that end it in any policy."""
        latest = self.deaths.latest
        if latest is not None:
            self._progress.on_event(f"the last call was killed, or crashed, while {latest.label()} ran")
        for policy in self.deaths.policies.values():
            times = self.deaths.times(policy)
            for name in self._engine.failures.failed(policy, "", weight=DEATH * times):
                self._progress.on_event(f"the process ended twice while {name} ran; the search goes on without it")
            if self.deaths.fatal(policy) and policy.stages and policy.content_hash() not in self._engine.tried:
                self._engine.tried.add(policy.content_hash())
                self._engine.block(policy)
                reason = f"{policy.label()}: the process ended {times} times while it ran"
                self._keep(Failed("restored", policy, reason), tracker, forwards=0)

    def _show(self, began: float, before: int) -> None:
        """Tell how far the search is: trials done, seconds left by the pace of this call, the front."""
        pace = (time.monotonic() - began) / max(1, self.tally.counted - before)
        eta = pace * (self.study.settings.trials - self.tally.counted)
        rows = [_row(record) for record in trial_front(self.records)]
        self._progress.on_trial(self.tally.counted, self.study.settings.trials, eta, rows)

    def _seeds(self) -> Iterator[tuple[str, Policy]]:
        """Controls and presets that have not been tried: a resumed study has had them."""
        depths, locations = self._evaluator.depths, self._engine.locations
        problem = self.problem
        for origin, policy in seed_policies(problem.space, depths, locations, problem.costs, problem.budget):
            if policy.content_hash() not in self._engine.tried:
                yield origin, policy

    def _keep(self, outcome: Outcome, tracker: Tracker | None, *, forwards: int) -> None:
        """Store an outcome, whole, in one transaction, and log it; ``forwards``: samples that were run for it."""
        if isinstance(outcome, Known):
            return
        from autotc.search.strategies.sampled import frozen_trial

        watched = 0 if self._judge is None else self._judge.forwards
        stored = stored_trial(outcome, forwards=forwards, calibration_forwards=watched - self._calibration_forwards)
        self._calibration_forwards = watched
        state, values = trial_state(outcome), None
        if isinstance(outcome, Ran | Raced):
            outcome.results.save(self.study.samples_file(outcome.policy))
        if isinstance(outcome, Ran):
            values = (outcome.results.mean(), outcome.cost.flops_ratio)
        constraints = {} if isinstance(outcome, Failed) else outcome.constraints
        number = self.study.add(
            frozen_trial(self.problem.space, outcome.policy, state, values, constraints, stored.as_attributes())
        )
        self.tally.add(stored, state)
        if isinstance(outcome, Failed):
            self._progress.on_event(f"trial {number} failed: {outcome.reason}")
        if isinstance(outcome, Ran):
            self.records.append(trial_record(number, outcome, stored))
        if tracker is not None:
            record_trial(tracker, self._engine, number, outcome, stored, self.study.settings.seed)
            if isinstance(outcome, Ran):
                tracker.curve("hypervolume", self._hypervolume(), len(self.records))
                tracker.curve("hypervolume by forwards", self._hypervolume(), self._engine.forwards)

    def _run_uncompressed(self) -> Results:
        path = self.study.folder / "uncompressed.samples.parquet"
        # Divergences are from what the uncompressed model predicts, which is not stored.
        if self.study.settings.sampler != "vflowopt":
            stored = self._load_samples(path)
            if stored is not None:
                return stored
        self._progress.on_phase("uncompressed")
        results = self._evaluator.run(
            UNCOMPRESSED,
            "search",
            limit=self.study.settings.search_limit,
            progress=self._progress.on_samples,
        )
        wrong = None if self._force else check_sanity(results, self._evaluator)
        if wrong is not None:
            shown, error = wrong
            for line in shown:
                self._progress.on_event(line)
            raise error
        results.save(path)
        self.study.note("uncompressed", results.mean())
        return results

    def _load_samples(self, path: Path) -> Results | None:
        """Stored per-sample results; None where there are none, or they are damaged, which is told."""
        if not path.exists():
            return None
        try:
            return Results.load(path)
        except DataError as error:
            self._progress.on_event(f"{error}; what it held runs again")
            return None

    def _restore(self, tracker: Tracker | None) -> None:
        """Give engine and strategy what the stored trials have seen; log those that a kill has kept from MLflow."""
        logged = tracker.logged_trials() if tracker is not None and len(self.study) else None
        for trial, stored in self.study.trials():
            policy = Policy.from_yaml(stored.policy, f"trial {trial.number}")
            results = self._restored_samples(trial, policy)
            if results is not None:
                self._engine.restore(policy, results, trial.state.name == "COMPLETE")
                self._engine.failures.went_well(policy)
            outcome = restored_outcome(trial, stored, policy, results, self.problem.costs)
            if isinstance(outcome, Failed):
                self._engine.failures.failed(policy, outcome.reason.removeprefix(policy.label()))
            if isinstance(outcome, Failed) or stored.refused == PREDICTED_CONFLICT:
                self._engine.block(policy)
            self._engine.conflicts_predicted += stored.refused == PREDICTED_CONFLICT or stored.audited
            if outcome is None:
                continue
            self._strategy.learn(self._engine, outcome)
            if tracker is not None and logged is not None and trial.number not in logged:
                record_trial(tracker, self._engine, trial.number, outcome, stored, self.study.settings.seed)

    def _restored_samples(self, trial: optuna.trial.FrozenTrial, policy: Policy) -> Results | None:
        """Stored results of a trial; without its file, the policy runs again where it had run on the whole split."""
        path = self.study.samples_file(policy)
        results = self._load_samples(path)
        if results is None and trial.state.name == "COMPLETE":
            if not path.exists():
                self._progress.on_event(f"{path}: is gone; trial {trial.number} runs again")
            self.deaths.begins(policy)
            results = self._evaluator.run(policy, "search", limit=self.study.settings.search_limit)
            results.save(path)
        return results

    def _fitprune_ratios(self, modality: Modality, keep: float) -> list[float] | None:
        """FitPrune's schedule on this model, the keep ratio before each layer; None where none leaves so little."""
        from autotc.evaluate.fitting import fit_fitprune

        observable = self._evaluator.observable()
        if observable is None:
            raise SearchError("sampler: fitprune reads a model's attention, which this evaluator does not offer")
        try:
            fitted = fit_fitprune(observable, modality, keep)
        except PolicyError:
            return None
        steps = {layer or 0: ratio for stage in fitted.stages for layer, ratio in stage.steps()}
        ratios, now = [], 1.0
        for layer in range(self._evaluator.depths.decoder):
            now = steps.get(layer, now)
            ratios.append(now)
        return ratios

    def _hypervolume(self) -> float:
        points = [(record.accuracy, record.flops_ratio) for record in trial_front(self.records)]
        return hypervolume(points, (self.chance, 1.0))


def _state(trial: optuna.trial.FrozenTrial) -> State:
    state: State = trial.state.name  # type: ignore[assignment]
    return state


def _row(record: TrialRecord) -> FrontRow:
    """A trial as the running front shows it: means without intervals."""
    return FrontRow(
        policy="",
        label=record.policy.label(),
        accuracy=record.accuracy,
        accuracy_by={key: Interval(value, value, value) for key, value in record.accuracy_by.items()},
        flops_ratio=record.flops_ratio,
        trial=record.number,
        tokens=record.tokens,
    )
