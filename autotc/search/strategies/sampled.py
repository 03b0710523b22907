"""Optuna's samplers as strategies: the space as they see it, one policy at a time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import optuna

from autotc.policy import Policy
from autotc.search.engine import Engine, Strategy
from autotc.search.outcome import Failed, Known, Outcome, Raced, Ran, Refused
from autotc.search.space import SearchSpace
from autotc.search.strategies.keys import Keys

Name = Literal["tpe", "nsga2", "nsga3", "gp", "random"]
EVOLUTIONARY = ("nsga2", "nsga3")
"""Samplers that cross policies."""
_POPULATION = 10
"""Of these: a study has tens of trials, and Optuna's 50 would leave it one generation."""


def frozen_trial(
    space: SearchSpace,
    policy: Policy,
    state: str,
    values: tuple[float, float] | None,
    constraints: Mapping[str, float],
    attrs: Mapping[str, Any] | None = None,
) -> optuna.trial.FrozenTrial:
    """A trial as Optuna stores it: what the space has of a policy, (accuracy, FLOPs ratio) and constraints."""
    params = space.encode_known(policy)
    return _trial(state, values, params, space.distributions(params), constraints, attrs)


def _trial(
    state: str,
    values: tuple[float, float] | None,
    params: dict[str, Any],
    distributions: dict[str, Any],
    constraints: Mapping[str, float],
    attrs: Mapping[str, Any] | None = None,
) -> optuna.trial.FrozenTrial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constraints of a trial are marked experimental
        return optuna.trial.create_trial(
            state=getattr(optuna.trial.TrialState, state),
            values=None if values is None else list(values),
            params=params,
            distributions=distributions,
            user_attrs=dict(attrs or {}),
            constraints=dict(constraints),
        )


class Sampled(Strategy):
    """A sampler of Optuna that maximises accuracy and minimises FLOPs over the whole policy.

    Evolutionary samplers cross only parameters that all trials share, so they get random keys in place of conditional
    parameters. A sampler learns from what ran, not from what it drew: a policy that was moved onto the budget, lost a
    race (with its accuracy on the samples it saw), or, but for evolutionary samplers, was refused (as infeasible).

    Args:
        name: of the sampler.
        seed: of its draws.
    """

    name: ClassVar[str] = "sampled"

    def __init__(self, name: Name, seed: int) -> None:
        self.sampler = name
        self._rng = np.random.default_rng(seed)
        self._keys: Keys | None = None
        self._drawn: dict[str, float] = {}
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=_sampler(name, seed))
        self._notes: dict[str, Any] = {}

    def propose(self, engine: Engine) -> tuple[str, Policy] | None:
        trial = self._study.ask()
        if self.sampler in EVOLUTIONARY:
            self._keys = self._keys or Keys(engine.space)
            self._drawn = {name: trial.suggest_float(name, 0.0, 1.0) for name in self._keys.names}
            policy = self._keys.decode(self._drawn)
        else:
            policy = engine.space.suggest(trial)
        told = self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        # Of which generation a trial is, an evolutionary sampler notes on the trial.
        self._notes = dict(told.system_attrs)
        return self.sampler, policy

    def learn(self, engine: Engine, outcome: Outcome) -> None:
        values: tuple[float, float] | None = None
        constraints: Mapping[str, float] = {}
        match outcome:
            case Failed():
                return
            case Known():
                again = engine.completed_run(outcome.policy)
                if again is not None:
                    # Told as if it had run once more: a sampler that is told nothing proposes it for ever.
                    values = (again.accuracy, again.flops_ratio)
            case Refused():
                constraints = outcome.constraints
            case Ran() | Raced():
                values = (engine.estimate(outcome.policy), outcome.cost.flops_ratio)
                constraints = outcome.constraints
        state = "PRUNED" if values is None else "COMPLETE"
        if self.sampler in EVOLUTIONARY:
            if not all(engine.space.holds(m, outcome.policy.modality(m)) for m in engine.space.modalities):
                return  # its keys would stand for another policy
            self._keys = self._keys or Keys(engine.space)
            if outcome.origin != self.sampler or not self._drawn:
                # Seeds, and what an earlier call ran, are the first generation.
                self._drawn, self._notes = {}, {f"{type(self._study.sampler).__name__}:generation": 0}
            params: dict[str, Any] = self._keys.encode(outcome.policy, self._rng, self._drawn)
            ranges: dict[str, Any] = dict.fromkeys(params, optuna.distributions.FloatDistribution(0.0, 1.0))
            trial = _trial(state, values, params, ranges, constraints)
        else:
            trial = frozen_trial(engine.space, outcome.policy, state, values, constraints)
        trial.system_attrs.update(self._notes)
        self._study.add_trial(trial)


def _sampler(name: Name, seed: int) -> optuna.samplers.BaseSampler:
    samplers = optuna.samplers
    kinds: dict[Name, type[optuna.samplers.BaseSampler]] = {
        "tpe": samplers.TPESampler,
        "nsga2": samplers.NSGAIISampler,
        "nsga3": samplers.NSGAIIISampler,
        "gp": samplers.GPSampler,
        "random": samplers.RandomSampler,
    }
    options = {"population_size": _POPULATION} if name in EVOLUTIONARY else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some samplers are marked experimental
        return kinds[name](seed=seed, **options)  # type: ignore[call-arg]
