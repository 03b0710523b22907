"""Searches of the literature as strategies over the same space: schedules of one mechanism in the decoder.

They search one modality; where a space has several, each gets the same treatment, side by side.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.search.archive import Entry
from autotc.search.engine import Engine, Strategy
from autotc.search.outcome import Outcome
from autotc.search.space import Choice
from autotc.search.strategies.surrogate import improvement
from autotc.solve import bisect
from autotc.vocabulary import Modality

Array = NDArray[np.float64]
Ratios = list[float]
"""Keep ratio before each layer of a choice, not rising; 1 where all tokens stay."""
Fit = Callable[[Modality, float], Ratios | None]
_RUNGS = 8
"""Budgets at which a front is asked for where the study has none, evenly from the space's lowest cost to the whole."""
_FIRST = 5
"""Random draws under each budget before a model is fitted."""
_DRAWS, _CHOSEN_FROM = 200, 40
"""Draws of a step at most, and new policies among them that the model chooses from."""


def scheduled(choice: Choice, modality: Modality, ratios: Sequence[float], grid: int) -> Policy | None:
    """The ratios as a policy on the space's grid; None where none of them drops anything."""
    low, high = (round(ratio * 100) for ratio in choice.keep_ratio)
    steps: dict[int, int] = {}
    now = 101
    for layer, ratio in zip(sorted(choice.layers), ratios, strict=True):
        percent = max(low, round(100 * ratio / grid) * grid)
        if percent <= high and percent < now:
            steps[layer] = now = percent
    if not steps:
        return None
    several = {"layers": {layer: percent / 100 for layer, percent in steps.items()}}
    ((layer, percent), *_) = steps.items()
    made: dict[str, Any] = several if len(steps) > 1 else {"layer": layer, "keep_ratio": percent / 100}
    stage: dict[str, object] = {
        "modality": modality,
        "location": choice.location,
        "mechanism": choice.mechanism,
        "params": choice.params,
        "budget": choice.budget_at(layer),
    }
    return Policy.of([Stage.model_validate({**stage, **made})])


class Published(Strategy):
    """Runs one plan for each modality's first decoder choice, in turn.

    Args:
        seed: of the random draws.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._plans: list[Iterator[Policy]] | None = None
        self._ran: dict[str, Policy] = {}
        self._waiting: Policy | None = None

    def learn(self, engine: Engine, outcome: Outcome) -> None:
        if self._waiting is not None:
            # The engine may have moved it onto the study's budget.
            for modality in self._waiting.modalities:
                mine = Policy(stages=self._waiting.modality(modality))
                self._ran[mine.content_hash()] = Policy(stages=outcome.policy.modality(modality))
            self._waiting = None

    def entry(self, engine: Engine, policy: Policy, modality: Modality) -> Entry | None:
        """What is known of a policy that was proposed, as it ran."""
        return engine.archive.find(self._ran.get(policy.content_hash(), policy), engine.main_group(modality))

    def accuracy(self, engine: Engine, policy: Policy, modality: Modality) -> float | None:
        """Its accuracy, where it did not see all samples by its paired change against the uncompressed model's."""
        entry = self.entry(engine, policy, modality)
        if entry is None:
            return None
        plain = engine.archive.find(UNCOMPRESSED, engine.main_group(modality))
        assert plain is not None  # the engine was started
        change = entry.evidence.correct - plain.evidence.correct[: len(entry.evidence)]
        return plain.accuracy + float(change.mean())

    @abstractmethod
    def plan(self, engine: Engine, modality: Modality, choice: Choice) -> Iterator[Policy]:
        """Policies one after the other; each is in the engine's pool when the next is asked for."""

    def propose(self, engine: Engine) -> tuple[str, Policy] | None:
        if self._plans is None:
            self._plans = [
                self.plan(engine, modality, next(c for c in part.choices if c.location == "decoder"))
                for modality, part in engine.space.modalities.items()
                if any(c.location == "decoder" for c in part.choices)
            ]
        stages: list[Stage] = []
        for plan in list(self._plans):
            policy = next(plan, None)
            if policy is None:
                self._plans.remove(plan)
            else:
                stages.extend(policy.stages)
        if not stages:
            return None
        self._waiting = Policy.of(stages)
        return self.name, self._waiting


def _targets(engine: Engine, modality: Modality, choice: Choice) -> list[float]:
    """Budgets to meet: the study's, or evenly between what the choice can reach and the whole."""
    if engine.budget.overall < 1:
        return [engine.budget.overall]
    lowest = scheduled(choice, modality, [choice.keep_ratio[0]] * len(choice.layers), engine.space.grid(choice))
    floor = 0.5 if lowest is None else engine.costs(lowest, group=engine.main_group(modality)).flops_ratio
    return [float(target) for target in np.linspace(floor + 1e-6, 0.97, _RUNGS)]


def _at(
    engine: Engine, build: Callable[[Ratios], Policy | None], ratios: Ratios, modality: Modality, target: float
) -> Policy | None:
    """The schedule whose cost on the modality's own samples lies just within a target: ratios to a common power."""
    best: Policy | None = None

    def met(power: float) -> bool:
        nonlocal best
        policy = build([min(1.0, max(1e-3, ratio)) ** math.exp(power) for ratio in ratios])
        if policy is None or engine.costs(policy, group=engine.main_group(modality)).flops_ratio > target:
            return False
        best = policy
        return True

    bisect(4.0, -4.0, met, steps=10)
    return best


class GSearch(Published):
    """Greedy search, then a sigmoid under a budget (arXiv 2412.00556, sections 3.2 and 3.3).

    First, from the shallowest layer to the deepest, the least ratio at which accuracy stays within a tolerance of the
    uncompressed model's, by bisection over the space's grid. Then the parameters of a sigmoid of the depth by Bayesian
    optimisation of the accuracy, every draw moved onto the budget.
    """

    name = "gsearch"
    tolerance = 0.01
    """Accuracy that the greedy search may lose."""

    def plan(self, engine: Engine, modality: Modality, choice: Choice) -> Iterator[Policy]:
        layers = sorted(choice.layers)
        grid = engine.space.grid(choice)
        low, high = (round(ratio * 100) for ratio in choice.keep_ratio)
        least = engine.uncompressed[engine.main_group(modality)] - self.tolerance
        ratios = [1.0] * len(layers)
        for i in range(len(layers)):
            ladder = [p for p in range(low, high + 1, grid) if p / 100 < ratios[i]]
            first, last = 0, len(ladder)
            while first < last:
                middle = (first + last) // 2
                tried = [*ratios[:i], *([ladder[middle] / 100] * (len(layers) - i))]
                policy = scheduled(choice, modality, tried, grid)
                assert policy is not None  # a ratio below 1 drops something
                yield policy
                accuracy = self.accuracy(engine, policy, modality)
                if accuracy is not None and accuracy >= least:
                    last = middle
                else:
                    first = middle + 1
            if last < len(ladder):
                ratios[i:] = [ladder[last] / 100] * (len(layers) - i)
        yield from _bayesian(
            engine,
            modality,
            choice,
            lambda x: sigmoid(layers, x),
            4,
            lambda policy: self.accuracy(engine, policy, modality),
            self._rng,
        )


def sigmoid(layers: Sequence[int], x: Array) -> Ratios:
    """Ratios along a sigmoid of the depth; ``x`` (4,) in [0, 1]: upper and lower ratio, middle and steepness."""
    upper, lower = max(x[0], x[1]), min(x[0], x[1])
    middle = layers[0] - 0.5 + x[2] * (layers[-1] - layers[0] + 1)
    steep = math.exp(math.log(0.3) + x[3] * math.log(8 / 0.3))
    return [float(lower + (upper - lower) / (1 + math.exp(min(60.0, steep * (k - middle))))) for k in layers]


class VFlowOpt(Published):
    """Gaussian process over the ratios, on the divergence from the uncompressed model (after arXiv 2508.05211).

    Its objective is the change of the last token's representation; here, what that representation predicts: the KL
    divergence at the answer. Every draw is moved onto the budget.
    """

    name = "vflowopt"

    def plan(self, engine: Engine, modality: Modality, choice: Choice) -> Iterator[Policy]:
        def closeness(policy: Policy) -> float | None:
            entry = self.entry(engine, policy, modality)
            return None if entry is None else -entry.results.divergence()

        def falling(x: Array) -> Ratios:
            return [float(ratio) for ratio in np.minimum.accumulate(x)]

        yield from _bayesian(engine, modality, choice, falling, len(choice.layers), closeness, self._rng)


def _bayesian(
    engine: Engine,
    modality: Modality,
    choice: Choice,
    ratios: Callable[[Array], Ratios],
    size: int,
    value: Callable[[Policy], float | None],
    rng: np.random.Generator,
) -> Iterator[Policy]:
    """Bayesian optimisation of a value under each budget in turn: random draws, then expected improvement."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    grid = engine.space.grid(choice)

    def build(values: Ratios) -> Policy | None:
        return scheduled(choice, modality, values, grid)

    known: dict[float, list[tuple[Array, float]]] = {target: [] for target in _targets(engine, modality, choice)}
    turn = 0
    while known:
        target = list(known)[turn % len(known)]
        turn += 1
        seen = known[target]
        draws: list[tuple[Array, Policy]] = []
        for x in rng.uniform(size=(_DRAWS, size)):
            policy = _at(engine, build, ratios(x), modality, target)
            if policy is not None and policy.content_hash() not in engine.tried:
                draws.append((x, policy))
                if len(draws) >= (1 if len(seen) < _FIRST else _CHOSEN_FROM):
                    break
        if not draws:
            del known[target]  # nothing new meets this budget
            continue
        pick = draws[0]
        if len(seen) >= _FIRST:
            kernel = ConstantKernel(1.0) * RBF(0.5, (0.05, 5.0)) + WhiteKernel(1e-2)
            inputs, outputs = np.array([x for x, _ in seen]), np.array([y for _, y in seen])
            spread = outputs.std() or 1.0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is no fault
                model = GaussianProcessRegressor(kernel).fit(inputs, (outputs - outputs.mean()) / spread)
            mean, deviation = model.predict(np.array([x for x, _ in draws]), return_std=True)
            best = float((outputs.max() - outputs.mean()) / spread)
            pick = draws[int(np.argmax(improvement(mean, np.maximum(deviation, 1e-9), best)))]
        yield pick[1]
        found = value(pick[1])
        if found is not None and math.isfinite(found):
            seen.append((pick[0], found))


class FitPrune(Published):
    """Schedules fitted to attention statistics by bisection, one for each budget (arXiv 2409.10197, section 3.3).

    Nothing of it is searched by running policies: each budget gets one schedule.

    Args:
        fit: (modality, mean keep ratio) -> keep ratio before each decoder layer, or None where none leaves so little.
    """

    name = "fitprune"

    def __init__(self, seed: int, fit: Fit) -> None:
        super().__init__(seed)
        self._fit = fit

    def plan(self, engine: Engine, modality: Modality, choice: Choice) -> Iterator[Policy]:
        grid = engine.space.grid(choice)
        for target in _targets(engine, modality, choice):
            best = self._largest(engine, modality, choice, grid, target)
            if best is not None and best.content_hash() not in engine.tried:
                yield best

    def _largest(self, engine: Engine, modality: Modality, choice: Choice, grid: int, target: float) -> Policy | None:
        """The schedule with the largest mean ratio that meets a budget."""
        best: Policy | None = None

        def met(mean: float) -> bool:
            nonlocal best
            ratios = self._fit(modality, mean)
            if ratios is None:
                return True  # attention allows no schedule that leaves so little
            policy = scheduled(choice, modality, [ratios[layer] for layer in sorted(choice.layers)], grid)
            if policy is None or engine.costs(policy, group=engine.main_group(modality)).flops_ratio > target:
                return False
            best = policy
            return True

        bisect(0.0, 1.0, met, steps=8)
        return best
