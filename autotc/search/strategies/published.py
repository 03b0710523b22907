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

from autotc.evaluate.base import Results
from autotc.mechanisms import Modality
from autotc.policy import Policy, Stage
from autotc.search.engine import Engine, Strategy
from autotc.search.objective import Budget, move_onto_budget
from autotc.search.space import Choice
from autotc.search.strategies.surrogate import improvement

Array = NDArray[np.float64]
Ratios = list[float]
"""Keep ratio before each layer of a choice, not rising; 1 where all tokens stay."""
LADDER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35)
"""FLOPs ratios of the modality at which a front is asked for where the study has no budget."""
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
    stage = {"modality": modality, "location": choice.location, "mechanism": choice.mechanism, "params": choice.params}
    return Policy.of([Stage.model_validate({**stage, **made})])


class Published(Strategy):
    """Runs one plan for each modality's first decoder choice, in turn.

    Args:
        seed: of the random draws.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._plans: list[Iterator[Policy]] | None = None

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
        return (self.name, Policy.of(stages)) if stages else None


def _targets(engine: Engine) -> list[float]:
    """Budgets to meet: the study's, or a ladder."""
    return [engine.budget.overall] if engine.budget.overall < 1 else list(LADDER)


def _at(engine: Engine, policy: Policy | None, modality: Modality, target: float) -> Policy | None:
    """A policy moved onto a budget of its modality's own samples."""
    if policy is None:
        return None
    budget = Budget(by={engine.home(modality): target})
    return move_onto_budget(policy, budget, engine.costs, engine.space)


def _accuracy(engine: Engine, policy: Policy, modality: Modality) -> float | None:
    entry = engine.pool.find(policy, engine.home(modality))
    return None if entry is None else entry.accuracy


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
        least = engine.uncompressed[engine.home(modality)] - self.tolerance
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
                accuracy = _accuracy(engine, policy, modality)
                if accuracy is not None and accuracy >= least:
                    last = middle
                else:
                    first = middle + 1
            if last < len(ladder):
                ratios[i:] = [ladder[last] / 100] * (len(layers) - i)
        yield from _bayesian(
            engine,
            modality,
            lambda x: scheduled(choice, modality, sigmoid(layers, x), grid),
            4,
            lambda policy: _accuracy(engine, policy, modality),
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
        grid = engine.space.grid(choice)
        home = engine.home(modality)

        def closeness(policy: Policy) -> float | None:
            entry = engine.pool.find(policy, home)
            return None if entry is None else -Results(entry.samples).divergence()

        def falling(x: Array) -> Policy | None:
            return scheduled(choice, modality, list(np.minimum.accumulate(x)), grid)

        yield from _bayesian(engine, modality, falling, len(choice.layers), closeness, self._rng)


def _bayesian(
    engine: Engine,
    modality: Modality,
    build: Callable[[Array], Policy | None],
    size: int,
    value: Callable[[Policy], float | None],
    rng: np.random.Generator,
) -> Iterator[Policy]:
    """Bayesian optimisation of a value under each budget in turn: random draws, then expected improvement."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    known: dict[float, list[tuple[Array, float]]] = {target: [] for target in _targets(engine)}
    turn = 0
    while known:
        target = list(known)[turn % len(known)]
        turn += 1
        seen = known[target]
        draws: list[tuple[Array, Policy]] = []
        for x in rng.uniform(size=(_DRAWS, size)):
            policy = _at(engine, build(x), modality, target)
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
        if found is not None:
            seen.append((pick[0], found))


class FitPrune(Published):
    """Schedules fitted to attention statistics by bisection, one for each budget (arXiv 2409.10197, section 3.3).

    Nothing of it is searched by running policies: each budget gets one schedule.

    Args:
        fit: (modality, mean keep ratio) -> keep ratio before each decoder layer.
    """

    name = "fitprune"

    def __init__(self, seed: int, fit: Callable[[Modality, float], Ratios]) -> None:
        super().__init__(seed)
        self._fit = fit

    def plan(self, engine: Engine, modality: Modality, choice: Choice) -> Iterator[Policy]:
        grid = engine.space.grid(choice)
        targets = [engine.budget.overall] if engine.budget.overall < 1 else list(LADDER)
        for target in targets:
            low, high = 0.0, 1.0
            best: Policy | None = None
            # The mean ratio whose schedule meets the budget.
            for _ in range(8):
                middle = (low + high) / 2
                ratios = self._fit(modality, middle)
                policy = scheduled(choice, modality, [ratios[layer] for layer in sorted(choice.layers)], grid)
                cost = 1.0 if policy is None else engine.costs(policy, group=engine.home(modality)).flops_ratio
                if policy is not None and cost <= target:
                    low, best = middle, policy
                else:
                    high = middle
            if best is not None and best.content_hash() not in engine.tried:
                yield best
