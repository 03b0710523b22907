"""The search as a sampler of Optuna's: for those who drive a study themselves, with ``study.optimize``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autotc.policy import Policy
from autotc.search.deaths import ORIGIN, WORK
from autotc.search.errors import SearchError
from autotc.search.leases import AdoptedLease
from autotc.search.outcome import Failed, Ran
from autotc.search.searcher import POLL, STALLED, Searcher
from autotc.search.space import SearchSpace

_EMPTY = "no new policy"
"""Why nothing came of a trial: the space is exhausted, or what is left runs on other workers."""


@dataclass
class _Plan:
    """What a trial is to run: its lease, who proposed what, as it will run, and its parameters in the space."""

    lease: AdoptedLease
    origin: str
    proposed: Policy
    policy: Policy
    params: Mapping[str, object]
    distributions: Mapping[str, BaseDistribution]


class _Wanted(Exception):
    """A proposal that samples have to run for, as it was about to run."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy


class PolicySampler(optuna.samplers.BaseSampler):
    """Proposes policies to trials of a study, and runs them.

    All it knows stands in the study's storage: it takes in what has ended there, by whichever process, before each
    proposal, and proposes nothing that another one runs. One trial at a time in a process; any number of processes.
    Refused proposals are stored as trials of their own. `autotc.search(study_name=..., resume=True)` ranks what was
    found on the validation split and exports a policy.

    Attributes:
        study: to optimise; accuracy upwards, FLOPs ratio downwards.

    Args:
        searcher: worker of the study.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher, self._begun = searcher, False
        self._plans: dict[int, _Plan] = {}
        self._random = optuna.samplers.RandomSampler(searcher.study.settings.seed)
        self.study = searcher.study.stored
        self.study.sampler = self

    @property
    def space(self) -> SearchSpace:
        """The search space; ``space.suggest(trial)`` is the policy of a trial, if it lies inside."""
        return self._searcher.problem.space

    def policy(self, trial: optuna.trial.BaseTrial) -> Policy | None:
        """The policy that a trial is to run; None where no new one was left."""
        plan = self._plans.get(trial.number)
        return None if plan is None else plan.policy

    def objective(self, trial: optuna.trial.Trial) -> tuple[float, float]:
        """Run the policy of a trial on the search split; returns its accuracy and its FLOPs ratio.

        Not a number, which Optuna stores as a failed trial, where the policy raised.

        Raises:
            optuna.TrialPruned: it lost a race on the samples so far, or no new policy was left.
        """
        searcher, plan = self._searcher, self._plans.get(trial.number)
        if plan is None:
            trial.study.stop()
            raise optuna.TrialPruned(_EMPTY)
        for name, distribution in plan.distributions.items():
            _suggest(trial, name, distribution)
        for key, value in searcher.problem.budget.excess(searcher.problem.costs(plan.policy)).items():
            trial.set_constraint(key, value)
        try:
            outcome = searcher.attempt(plan.origin, plan.proposed, lambda origin, policy: plan.lease)
        finally:
            del self._plans[trial.number]
            plan.lease.release()
        if isinstance(outcome, Failed):
            return float("nan"), float("nan")
        if isinstance(outcome, Ran):
            return outcome.results.mean(), outcome.cost.flops_ratio
        raise optuna.TrialPruned(f"{plan.policy.label()}: {type(outcome).__name__.lower()}")

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Take in what the study holds, and settle on what the trial runs.

        Raises:
            SearchError: another trial of this process is still to run, or the storage cannot be used.
        """
        searcher = self._searcher
        for number in self._plans:
            raise SearchError(f"trial {number} is still to run: one at a time in a process; n_jobs=1 is right")
        lease = searcher.leases.adopt(trial)
        if not self._begun:
            searcher.begin()
            self._begun = True
        searcher.catch_up()
        for _ in range(STALLED):
            proposal = searcher.proposal()
            if proposal is not None:
                try:
                    searcher.attempt(*proposal, _want)
                except _Wanted as wanted:
                    if self._settled(lease, *proposal, wanted.policy):
                        return
            elif searcher.others:
                time.sleep(POLL)  # what others find may lead on
                searcher.catch_up()
            else:
                break
        lease.release(_EMPTY)

    def _settled(self, lease: AdoptedLease, origin: str, proposed: Policy, policy: Policy) -> bool:
        """Have a trial run a policy; False where another worker has a part of it."""
        searcher, work = self._searcher, {WORK: policy.to_yaml(), ORIGIN: origin}
        if not lease.settle(work, partial(searcher.clashes, policy)) or searcher.is_taken(policy):
            return False
        params = self.space.encode_known(policy)
        self._plans[lease.number] = _Plan(lease, origin, proposed, policy, params, self.space.distributions(params))
        return True

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """None: parameters depend on each other, and are given one by one."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Nothing."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        """A parameter of the trial's policy; any value where the policy has no such parameter."""
        plan = self._plans.get(trial.number)
        if plan is not None and param_name in plan.params:
            return plan.params[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _want(origin: str, policy: Policy) -> None:
    raise _Wanted(policy)


def _suggest(trial: optuna.trial.Trial, name: str, distribution: BaseDistribution) -> None:
    """Have a trial take a parameter, as its sampler gives it."""
    match distribution:
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
        case FloatDistribution():
            trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
