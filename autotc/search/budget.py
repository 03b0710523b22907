"""Budgets and analytic costs: what is known of a policy before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel
from autotc.policy import Policy, Stage
from autotc.results import SplitCost
from autotc.search.space import Choice, SearchSpace
from autotc.solve import last_step
from autotc.vocabulary import Modality, Split

Charge = Callable[[Policy], SplitCost]
"""What a policy costs on the search split."""
_TRIES = 4
"""Times that a policy whose budgets follow the item is measured while it is moved onto a budget."""
_SCALES = 64
"""Resolution of the bisection that moves a policy onto the budget."""


@dataclass(frozen=True)
class Budget:
    """The most that a policy may cost.

    Attributes:
        overall: FLOPs ratio over all samples, in (0, 1].
        by: modality -> FLOPs ratio over the samples of that modality alone.
        time: predicted prefill time relative to uncompressed.
        kv: bytes of keys and values after prefill relative to uncompressed, in (0, 1].
    """

    overall: float = 1.0
    by: Mapping[str, float] = field(default_factory=dict)
    time: float | None = None
    kv: float | None = None

    def excess(self, cost: SplitCost) -> dict[str, float]:
        """Constraint name -> relative cost minus budget; feasible where all are <= 0."""
        out = {"flops_ratio": cost.flops_ratio - self.overall}
        for modality, budget in self.by.items():
            out[f"flops_ratio/{modality}"] = cost.flops_ratio_by.get(modality, 0.0) - budget
        if self.time is not None:
            assert cost.time_ratio is not None  # a budget of time comes with a latency model
            out["time_ratio"] = cost.time_ratio - self.time
        if self.kv is not None:
            out["kv_ratio"] = cost.kv_ratio - self.kv
        return out

    def tightened(self, share: float) -> Budget:
        """A share of everything that is allowed over all samples."""
        time, kv = (None if limit is None else limit * share for limit in (self.time, self.kv))
        return Budget(self.overall * share, self.by, time, kv)

    def scaled(self, share: float) -> Budget:
        """A share of everything that is allowed, also of a modality's own samples."""
        return replace(self.tightened(share), by={modality: limit * share for modality, limit in self.by.items()})

    def overuse(self, cost: SplitCost) -> float:
        """The largest share that a cost is of what is allowed, over all samples or over a modality's."""
        own = [cost.flops_ratio_by.get(modality, 0.0) / limit for modality, limit in self.by.items()]
        return max([self.used(cost), *own])

    def used(self, cost: SplitCost) -> float:
        """The largest share that a cost is of what is allowed over all samples; at most 1 where it keeps within it."""
        shares = [cost.flops_ratio / self.overall]
        if self.time is not None and cost.time_ratio is not None:
            shares.append(cost.time_ratio / self.time)
        if self.kv is not None:
            shares.append(cost.kv_ratio / self.kv)
        return max(shares)

    def met(self, cost: SplitCost) -> bool:
        """Whether a cost keeps within every budget."""
        return max(self.excess(cost).values()) <= 0

    @property
    def unlimited(self) -> bool:
        """Whether nothing is asked of the cost over all samples, so that the whole front counts."""
        return self.overall >= 1 and self.time is None and self.kv is None

    def of(self, modality: str) -> Budget:
        """What one modality's own samples may cost, none of them saving for another's."""
        return Budget(min(self.overall, self.by.get(modality, 1.0)), {}, self.time, self.kv)


class Costs:
    """Analytic costs, each asked of the evaluator once.

    Args:
        evaluator: to ask.
        latency: predicts prefill times; None leaves them out.
    """

    def __init__(self, evaluator: Evaluator, latency: LatencyModel | None = None) -> None:
        self._evaluator, self._latency = evaluator, latency
        self._known: dict[tuple[str, Split, str | None], SplitCost] = {}

    def __call__(self, policy: Policy, split: Split = "search", group: str | None = None) -> SplitCost:
        """Cost of a policy on a split, or on one modality group of it.

        Raises:
            PolicyError: the policy does not fit the model.
        """
        key = (policy.content_hash(), split, group)
        if key not in self._known:
            groups = None if group is None else [group]
            self._known[key] = self._evaluator.cost(policy, split, groups=groups, latency=self._latency)
        return self._known[key]

    def remember(self, policy: Policy, cost: SplitCost) -> None:
        """Take what a policy costs on the whole search split from who has computed it."""
        self._known[policy.content_hash(), "search", None] = cost


def bounds(stage: Stage, space: SearchSpace) -> tuple[int, int, int]:
    """Lowest ratio, highest ratio and step of a stage's grid, in percent; of the space's step if it lies outside."""
    choice = space.choice(stage)
    grid = space.grid(choice)
    if choice is None:
        return grid, 100, grid
    return round(choice.keep_ratio[0] * 100), round(choice.keep_ratio[1] * 100), grid


def single_stage(modality: Modality, choice: Choice, layer: int | None, percent: int) -> Stage:
    """A stage of a choice at one layer and ratio."""
    return Stage(
        modality=modality,
        location=choice.location,
        layer=layer,
        mechanism=choice.mechanism,
        keep_ratio=percent / 100,
        params=choice.params,
        budget=choice.budget_at(layer),
    )


def with_ratios(stage: Stage, ratios: Iterable[int]) -> Stage:
    """A stage with other keep ratios, in percent, one for each of its steps; steps that do not fall are left out."""
    values = [ratio / 100 for ratio in ratios]
    if stage.layers is None:
        return stage.model_copy(update={"keep_ratio": values[0]})
    falling: dict[int, float] = {}
    for layer, value in zip(sorted(stage.layers), values, strict=True):
        if not falling or value < min(falling.values()):
            falling[layer] = value
    if len(falling) > 1:
        return stage.model_copy(update={"layers": falling})
    ((layer, value),) = falling.items()
    return stage.model_copy(update={"layers": None, "layer": layer, "keep_ratio": value})


def scaled(policy: Policy, scale: float, space: SearchSpace, modalities: Iterable[str]) -> Policy:
    """A policy with the ratios of some modalities multiplied by `scale` in [0, 1] and put on the space's grid."""
    chosen = set(modalities)
    stages: list[Stage] = []
    left: dict[str, int] = {}
    for stage in policy.stages:
        low, _, grid = bounds(stage, space)
        ratios: list[int] = []
        for _, ratio in stage.steps():
            percent = round(ratio * 100)
            if stage.modality in chosen:
                percent = max(low, min(percent, int(ratio * 100 * scale + 1e-6) // grid * grid))
                above = left.get(stage.modality, 101)
                if percent >= above:
                    percent = max(low, (above - 1) // grid * grid)
            ratios.append(percent)
            left[stage.modality] = percent
        stages.append(with_ratios(stage, ratios) if stage.modality in chosen else stage)
    return policy.model_copy(update={"stages": tuple(stages)})


def move_onto_budget(policy: Policy, budget: Budget, costs: Costs, space: SearchSpace) -> Policy | None:
    """As `_move`; where budgets follow the item, what is charged at their mean is tried, then measured.

    Where what is measured costs too much, it is tried again under a budget that is tighter by as much.
    """
    if all(stage.budget is None for stage in policy.stages):
        return _move(policy, budget, costs, space)
    tried = budget
    for _ in range(_TRIES):
        moved = _move(policy, tried, lambda p: costs(at_mean(p)), space)
        if moved is None or budget.met(costs(moved)):
            return moved
        tried = tried.scaled(0.99 / max(1.0, budget.overuse(costs(moved))))
    return None


def at_mean(policy: Policy) -> Policy:
    """The policy with fixed budgets: what its adaptive ones cost on average."""
    return policy.model_copy(update={"stages": tuple(s.model_copy(update={"budget": None}) for s in policy.stages)})


def _move(policy: Policy, budget: Budget, costs: Charge, space: SearchSpace) -> Policy | None:
    """The policy itself if it keeps within the budget, else the same with ratios lowered onto it.

    Modalities with a budget of their own are lowered first, each alone; then all by one factor, found by bisection;
    then single ratios are raised again by a step where the budget still allows it.

    Returns:
        None where even the lowest ratios cost too much.

    Raises:
        PolicyError: the policy does not fit the model.
    """
    if budget.met(costs(policy)):
        return policy
    moved = policy
    for modality in [m for m in budget.by if m in policy.modalities]:
        own = Budget(by={modality: budget.by[modality]})
        lowered = _lower(moved, own, costs, space, (modality,))
        if lowered is None:
            return None
        moved = lowered
    lowered = _lower(moved, budget, costs, space, policy.modalities)
    return None if lowered is None else _fill(lowered, policy, budget, costs, space)


def _lower(
    policy: Policy, budget: Budget, costs: Charge, space: SearchSpace, modalities: Iterable[str]
) -> Policy | None:
    """The policy with all ratios of some modalities lowered by the factor nearest to 1 that meets a budget."""
    if budget.met(costs(policy)):
        return policy
    chosen = tuple(modalities)
    lowest = scaled(policy, 0.0, space, chosen)
    if not chosen or not budget.met(costs(lowest)):
        return None

    def at(step: int) -> Policy:
        return scaled(policy, step / _SCALES, space, chosen)

    step = last_step(0, _SCALES, lambda step: budget.met(costs(at(step))))
    return at(step) if step else lowest


def _fill(policy: Policy, wanted: Policy, budget: Budget, costs: Charge, space: SearchSpace) -> Policy:
    """The policy with single ratios raised by one step, no higher than wanted, where the budget still allows it."""
    for i, (stage, original) in enumerate(zip(policy.stages, wanted.stages, strict=True)):
        _, _, grid = bounds(stage, space)
        ratios = [round(ratio * 100) for _, ratio in stage.steps()]
        tops = [round(ratio * 100) for _, ratio in original.steps()]
        if len(tops) != len(ratios):
            continue  # lowered until two of its steps were one
        before = [s.final_ratio for s in policy.stages[:i] if s.modality == stage.modality]
        for j in range(len(ratios)):
            above = ratios[j - 1] if j else round(before[-1] * 100) if before else 101
            raised = [*ratios[:j], ratios[j] + grid, *ratios[j + 1 :]]
            if raised[j] > tops[j] or raised[j] >= above:
                continue
            stages = [*policy.stages[:i], with_ratios(stage, raised), *policy.stages[i + 1 :]]
            trial = policy.model_copy(update={"stages": tuple(stages)})
            if budget.met(costs(trial)):
                policy, ratios = trial, raised
    return policy
