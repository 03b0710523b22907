"""One worker of a search: proposes policies and runs them, beside any number of others on the same study."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from autotc.evaluate.base import Evaluator
from autotc.pareto import hypervolume
from autotc.policy import UNCOMPRESSED, Policy
from autotc.results import Results
from autotc.search.account import CONTEXT, describe
from autotc.search.deaths import ORIGIN, WORK, Deaths
from autotc.search.engine import Conduct, Engine, Strategy
from autotc.search.errors import SearchError
from autotc.search.failures import DEATH
from autotc.search.fitted import fitprune_ratios
from autotc.search.interrupts import check_interrupts
from autotc.search.leases import LOST, Lease, Leases, Worker
from autotc.search.outcome import PREDICTED_CONFLICT, Failed, Known, Outcome, Raced, Ran, Refused
from autotc.search.prediction import stack_judge
from autotc.search.problem import Problem
from autotc.search.progress import SearchProgress
from autotc.search.records import restored_outcome, running_row, stored_trial, told, trial_record, trial_state
from autotc.search.sanity import chance_level, check_sanity
from autotc.search.seeds import Waiting, seed_policies
from autotc.search.settings import SearchSettings
from autotc.search.split_runs import SplitRuns
from autotc.search.storage import Study
from autotc.search.strategies import build_strategy
from autotc.search.tally import Tally
from autotc.search.trials import RECORD, State, StoredTrial, TrialRecord, stored_policy, trial_front

if TYPE_CHECKING:
    import optuna

STALLED = 300
"""Proposals in a row without a new feasible policy after which the space counts as exhausted."""
_FIRST_FAILURES, _FAILURES = 12, 60
"""Trials that may fail in a row before the search gives up: where none has run, and where some have. Then it is not the
mechanisms, of which each is left out that fails whenever it runs."""
POLL = 0.5
"""Seconds between two looks at what others do."""

Claim = Callable[[str, Policy], Lease | None]
"""Asked before samples of a policy run, with who proposed it; None where they are not to run here and now."""
Recorder = Callable[[int, Outcome, StoredTrial], None]
"""Told of each trial, by whichever worker it was, with its number, what became of it and how it is stored."""


class Searcher:
    """A worker with a strategy and what is known so far, which is what the study's storage holds.

    Before each proposal it takes in what other workers have stored. Before samples run, the policy is stored as a
    running trial, so that no other worker runs a part of it. What is refused, or known from its parts, is stored whole
    in one transaction. So an interruption leaves no half-written trial.

    Attributes:
        study, problem: what is searched.
        engine: what is known, and how policies run.
        leases: of this worker's trials.
        runs: of policies on whole splits.
        records: feasible trials that ran, in order.
        tally: counts over the stored trials.
        uncompressed: the uncompressed model's results on the search split; none before the first run.
        chance: accuracy of guessing, mean over modality groups.
        exhausted: whether the space ran out of new feasible policies.
        others: trials that other workers run.

    Args:
        asked: for what is not the study's but this call's.
        progress: told how it goes.
        seed: added to the study's, so that workers draw differently.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        study: Study,
        problem: Problem,
        asked: SearchSettings,
        progress: SearchProgress,
        *,
        seed: int = 0,
    ) -> None:
        self.study, self.problem = study, problem
        worker = Worker.here()
        progress.on_worker(study.name, worker.name)
        self.runs = SplitRuns(study, evaluator, worker, progress.on_event, progress.on_samples)
        self.records: list[TrialRecord] = []
        self.tally = Tally()
        self.uncompressed = Results(())
        self.chance = 0.0
        self.exhausted = False
        self.others = 0
        self.recorder: Recorder | None = None
        settings = study.settings
        self._evaluator, self._progress, self._force = evaluator, progress, asked.force
        self._judge = stack_judge(evaluator) if settings.predict_conflicts else None
        self._calibration_forwards = 0
        self.leases = Leases(study.stored, study.home, worker)
        self._lease: Lease | None = None
        self._claim: Claim = self._take
        self._deaths = Deaths()
        self._seen, self._met = set[int](), set[str]()
        self._seeds = Waiting(())
        self.engine = Engine(
            evaluator,
            problem.space,
            problem.budget,
            problem.costs,
            Conduct(
                limit=settings.search_limit,
                races=settings.races,
                predict_conflict=self._judge,
                timeout=asked.trial_timeout,
                before_run=self._begin_run,
            ),
        )
        # A resumed study does not repeat the draws of its beginning.
        self._strategy: Strategy = build_strategy(
            settings.sampler,
            (settings.seed + seed + 1_000_003 * len(study)) % 2**32,
            partial(fitprune_ratios, evaluator),
        )

    def close(self, *, done: bool) -> None:
        """Give back what is left; ``done``: the study has come to its end."""
        self.leases.close()
        self.runs.close(done=done)

    def run(self) -> None:
        """Evaluate policies until enough distinct feasible ones have run, here or by other workers.

        Raises:
            SearchError: the uncompressed model guesses or is always wrong, many trials in a row failed, or none ran.
        """
        if self.problem.lacking:
            lacking = ", ".join(self.problem.lacking)
            self._progress.on_event(f"left out of the space, since the model offers no such place: {lacking}")
        self.begin()
        self._progress.on_phase("search")
        trials = self.study.settings.trials
        stalled = failures = 0
        began, before = time.monotonic(), self.tally.counted
        while self.tally.counted < trials:
            if self.tally.counted + self.others >= trials:
                self._await_others()
                continue
            outcome = self._step()
            if isinstance(outcome, Failed):
                failures += 1
                if failures >= (_FAILURES if self.records or self.tally.raced else _FIRST_FAILURES):
                    raise SearchError(f"{failures} trials in a row failed; the last: {outcome.reason}")
            if outcome is None or isinstance(outcome, Known | Refused | Failed):
                stalled += 1
                if (stalled >= STALLED or outcome is None) and self.others:
                    self._await_others()  # what they find may lead on
                    stalled = 0
                elif stalled >= STALLED or outcome is None:
                    self.exhausted = True
                    self._progress.on_event(f"no new feasible policy in {stalled} proposals: the space is exhausted")
                    break
            else:
                stalled = failures = 0
                if isinstance(outcome, Ran):
                    self._show(began, before)
            self.catch_up()
        if not self.records:
            raise SearchError(
                f"no policy of the space meets the budget {self.problem.budget.overall:g};"
                f" refused: {self.tally.refused or 'none'}"
            )

    def begin(self) -> None:
        """Take in what the study holds, beginning with the uncompressed model's results."""
        # Divergences are from what the uncompressed model predicts, which is not stored.
        again = self.study.settings.sampler == "vflowopt"
        self.uncompressed = self.runs.once(UNCOMPRESSED, "search", self._run_uncompressed, again=again)
        self.engine.start(self.uncompressed)
        self.chance = chance_level(self.uncompressed, self._evaluator.info("search").chance)
        self.catch_up()
        self.runs.gather()
        self.study.note(CONTEXT, describe(self._evaluator, self.chance))
        problem = self.problem
        self._seeds = Waiting(
            seed_policies(problem.space, self._evaluator.depths, self.engine.locations, problem.costs, problem.budget)
        )

    def _await_others(self) -> None:
        time.sleep(POLL)
        self.catch_up()

    def catch_up(self) -> None:
        """Take in what other workers, or earlier calls, have stored, and what others run now."""
        check_interrupts()
        running = self.leases.others()
        trials = self.leases.trials()
        for trial in trials:
            if trial.number not in self._seen and trial.state.is_finished():
                self._seen.add(trial.number)
                # One with a reason why nothing came of it runs again, also where all but its end was stored.
                if "hash" in trial.user_attrs.get(RECORD, {}) and LOST not in trial.user_attrs:
                    self._absorb(trial, StoredTrial.model_validate(trial.user_attrs[RECORD]))
        self._note_deaths(trials)  # by now it is known which mechanisms have run well
        self.others = len(running)
        self.engine.promise(
            Policy.from_yaml(trial.user_attrs[WORK], f"trial {trial.number}")
            for trial in running
            if WORK in trial.user_attrs
        )

    def _absorb(self, trial: optuna.trial.FrozenTrial, stored: StoredTrial) -> None:
        """Give engine and strategy what a stored trial has seen."""
        twice = stored.hash in self._met
        self._met.add(stored.hash)
        if twice:  # two workers put the same together from known parts
            return
        self.engine.tried.add(stored.hash)
        state: State = trial.state.name  # type: ignore[assignment]
        self.tally.add(stored, state)
        policy = stored_policy(stored, trial.number)
        results = (
            None
            if stored.refused or state == "FAIL"
            else self.runs.stored(trial.number, policy, complete=state == "COMPLETE")
        )
        if stored.split_cost is not None:
            self.problem.costs.remember(policy, stored.split_cost)
        if results is not None:
            self.engine.restore(policy, results, state == "COMPLETE", stored.prices)
            self.engine.failures.went_well(policy)
        outcome = restored_outcome(trial, stored, policy, results, self.problem.costs)
        if isinstance(outcome, Failed):
            self.engine.failures.failed(policy, outcome.reason.removeprefix(policy.label()))
        if isinstance(outcome, Failed) or stored.refused == PREDICTED_CONFLICT:
            self.engine.block(policy)
        self.engine.conflicts_predicted += stored.refused == PREDICTED_CONFLICT or stored.audited
        if outcome is None:
            return
        self._strategy.learn(self.engine, outcome)
        if isinstance(outcome, Ran) and not any(value > 0 for value in trial.constraints.values()):
            self.records.append(trial_record(trial.number, outcome, stored))
        if self.recorder is not None:
            self.recorder(trial.number, outcome, stored)

    def _note_deaths(self, trials: list[optuna.trial.FrozenTrial]) -> None:
        """Fail policies under which processes have ended often, and leave out mechanisms that end them in any."""
        for policy in self._deaths.look(trials):
            times = self._deaths.times(policy)
            self._progress.on_event(f"a worker was killed, or crashed, while {policy.label()} ran")
            for name in self.engine.failures.failed(policy, "", weight=DEATH):
                self._progress.on_event(f"workers ended whenever {name} ran; the search goes on without it")
            if self._deaths.fatal(policy) and policy.content_hash() not in self.engine.tried:
                self.engine.tried.add(policy.content_hash())
                self.engine.block(policy)
                reason = f"{policy.label()}: the process ended {times} times while it ran"
                self._keep(Failed("restored", policy, reason), forwards=0)

    def _step(self) -> Outcome | None:
        """Try the next proposal; None where there is none."""
        proposal = self.proposal()
        return None if proposal is None else self.attempt(*proposal, self._take)

    def proposal(self) -> tuple[str, Policy] | None:
        """What to try next, and who proposes it; None where nothing is left."""
        return self._unfinished() or self._seeds.next(self.engine) or self._strategy.propose(self.engine)

    def attempt(self, origin: str, policy: Policy, claim: Claim) -> Outcome:
        """Try a policy, and keep what became of it; ``claim``: asked before samples run."""
        self._claim = claim
        before, left_out = self.engine.forwards, set(self.engine.failures.left_out)
        try:
            outcome = self.engine.attempt(origin, policy, race=":" not in origin)
            # What is put together from known parts runs nothing, and is no trial that was asked for.
            self._keep(outcome, forwards=self.engine.forwards - before)
        finally:
            if self._lease is not None:
                self._lease.give_back()
                self._lease = None
        self._strategy.learn(self.engine, outcome)
        for name in sorted(self.engine.failures.left_out - left_out):
            self._progress.on_event(f"{name} failed whenever it ran; the search goes on without it")
        return outcome

    def _unfinished(self) -> tuple[str, Policy] | None:
        """A policy that a worker did not finish, and that nobody has run since."""
        for origin, policy in self._deaths.unfinished.values():
            if policy.content_hash() not in self.engine.tried and not self.engine.promised(policy):
                return origin, policy
        return None

    def _begin_run(self, origin: str, policy: Policy) -> bool:
        self._lease = self._claim(origin, policy)
        if self._lease is not None:
            self._progress.on_begin(self._lease.number, policy.label())
        return self._lease is not None

    def _take(self, origin: str, policy: Policy) -> Lease | None:
        """Store a policy as a running trial before its samples run; None where another worker has a part of it."""
        from autotc.search.strategies.sampled import frozen_trial

        excess = self.problem.budget.excess(self.problem.costs(policy))
        attrs = {WORK: policy.to_yaml(), ORIGIN: origin}
        trial = frozen_trial(self.problem.space, policy, "RUNNING", None, excess, attrs)

        lease = self.leases.take(trial, partial(self.clashes, policy))
        if lease is not None and (self.is_taken(policy) or self._is_beyond(lease)):
            lease.drop()
            return None
        return lease

    def _is_beyond(self, lease: Lease) -> bool:
        """Whether those that others took before are as many as are still to run."""
        earlier = sum(trial.number < lease.number for trial in self.leases.others())
        return self.tally.counted + earlier >= self.study.settings.trials

    def clashes(self, policy: Policy, other: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial of another worker runs a part of a policy that is not known yet."""
        text = other.user_attrs.get(WORK)
        return text is not None and self.engine.clash(policy, Policy.from_yaml(text, f"trial {other.number}"))

    def is_taken(self, policy: Policy) -> bool:
        """Whether a policy has come to its end on another worker while this one looked."""
        self.catch_up()
        return policy.content_hash() in self.engine.tried

    def _keep(self, outcome: Outcome, *, forwards: int) -> None:
        """Store an outcome, after its samples; ``forwards``: samples that were run for it."""
        if isinstance(outcome, Known):
            return
        from autotc.search.strategies.sampled import frozen_trial

        watched = 0 if self._judge is None else self._judge.forwards
        stored = stored_trial(
            outcome,
            forwards=forwards,
            calibration_forwards=watched - self._calibration_forwards,
            prices=self.engine.prices(outcome.policy),
        )
        self._calibration_forwards = watched
        state, values = trial_state(outcome), None
        if isinstance(outcome, Ran | Raced):
            self.study.samples.save(outcome.results, self.study.samples_file(outcome.policy))
        if isinstance(outcome, Ran):
            values = (outcome.results.mean(), outcome.cost.flops_ratio)
        if self._lease is None:
            constraints = {} if isinstance(outcome, Failed) else outcome.constraints
            number = self.study.add(
                frozen_trial(self.problem.space, outcome.policy, state, values, constraints, stored.as_attributes())
            )
        else:
            lease, self._lease = self._lease, None
            number = lease.number
            if not lease.finish(state, None if values is None else list(values), stored.as_attributes()):
                self._progress.on_event(f"trial {number}: was given to another worker meanwhile")
                return
        self._seen.add(number)
        self._met.add(stored.hash)
        self.tally.add(stored, state)
        self._progress.on_end(number, type(outcome).__name__.lower(), told(outcome))
        if isinstance(outcome, Failed):
            self._progress.on_event(f"trial {number} failed: {outcome.reason}")
        if isinstance(outcome, Ran):
            self.records.append(trial_record(number, outcome, stored))
        if self.recorder is not None:
            self.recorder(number, outcome, stored)

    def _show(self, began: float, before: int) -> None:
        """Tell how far the search is: trials done, seconds left by the pace of this call, the front."""
        pace = (time.monotonic() - began) / max(1, self.tally.counted - before)
        eta = pace * max(0, self.study.settings.trials - self.tally.counted)
        rows = [running_row(record) for record in trial_front(self.records)]
        self._progress.on_trial(self.tally.counted, self.study.settings.trials, eta, rows)

    def _run_uncompressed(self) -> Results:
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
        self.study.note("uncompressed", results.mean())
        return results

    def hypervolume(self) -> float:
        """Of the front on the search split."""
        points = [(record.accuracy, record.flops_ratio) for record in trial_front(self.records)]
        return hypervolume(points, (self.chance, 1.0))
