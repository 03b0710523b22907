"""A table of results in place of a model, and one run of a sampler on it; for `search.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotc.depths import Depths
from autotc.evaluate.base import Evaluator
from autotc.latency import LatencyModel
from autotc.pareto import hypervolume, pareto_front
from autotc.policy import ModelReference, Policy
from autotc.progress import Progress
from autotc.results import Results, SampleResult, SplitCost, SplitInfo
from autotc.search.archive import restricted
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Conduct, Engine
from autotc.search.outcome import Refused
from autotc.search.space import SearchSpace
from autotc.search.strategies import build_strategy
from autotc.vocabulary import Split

BUDGETS = (0.7, 0.5, 0.35)
_IDLE = 400
"""Proposals in a row that run nothing, after which a sampler has ended."""
_PROPOSALS = 700
"""Proposals of a peer at most: what Optuna's take for one grows with those before."""


class TableEvaluator(Evaluator):
    """Looks up what was evaluated once; a policy of several modalities is put together from its parts."""

    def __init__(self, path: Path, groups: Sequence[str]) -> None:
        data = np.load(path)
        self.name, self.seed = "table", 0
        self.model = ModelReference(architecture="Qwen2_5OmniThinkerForConditionalGeneration")
        self.depths = Depths(decoder=6, encoder={"image": 3, "video": 3, "audio": 3})
        self.groups = tuple(groups)
        self.modalities = self.groups
        self._rows: dict[str, dict[str, int]] = {}
        self.policies: dict[str, list[Policy]] = {}
        self._samples: dict[tuple[str, Split], dict[str, Any]] = {}
        for group in groups:
            policies = [Policy.from_yaml(str(text)) for text in data[f"{group}/policies"]]
            self.policies[group] = policies
            self._rows[group] = {policy.content_hash(): i for i, policy in enumerate(policies)}
            for split in ("search", "val", "test"):
                task = data[f"{group}/{split}/task"]
                self._samples[group, split] = {  # type: ignore[index]
                    "task": [str(name) for name in task],
                    "chance": data[f"{group}/{split}/chance"],
                    "correct": np.unpackbits(data[f"{group}/{split}/correct"], axis=1)[:, : len(task)],
                    "log_probability": data[f"{group}/{split}/log_probability"].astype(float),
                    "divergence": data[f"{group}/{split}/divergence"].astype(float),
                    "flops": data[f"{group}/{split}/flops"],
                }
        self.ladder = {m: data[f"{m}/fitprune"] for m in groups if f"{m}/fitprune" in data}

    def info(self, split: Split) -> SplitInfo:
        chance = {}
        for group in self.groups:
            found = self._samples[group, split]
            chance.update(dict(zip(found["task"], map(float, found["chance"]), strict=True)))
        return SplitInfo({g: len(self._samples[g, split]["task"]) for g in self.groups}, "table", chance)

    def floors(self, split: Split) -> Mapping[tuple[str, str], float]:
        return {(m, at): 0.0 for m in self.groups for at in ("input", "encoder", "projector", "decoder")}

    def has(self, group: str, policy: Policy) -> bool:
        """Whether the table holds a policy's part of a group."""
        return restricted(policy, group).content_hash() in self._rows[group]

    def _row(self, group: str, policy: Policy) -> int:
        return self._rows[group][restricted(policy, group).content_hash()]

    def cost(
        self,
        policy: Policy,
        split: Split,
        *,
        groups: Collection[str] | None = None,
        latency: LatencyModel | None = None,
    ) -> SplitCost:
        by, mine, whole = {}, 0.0, 0.0
        for group in self.groups if groups is None else groups:
            flops = self._samples[group, split]["flops"]
            by[group] = float(flops[self._row(group, policy)] / flops[0])
            mine, whole = mine + flops[self._row(group, policy)], whole + flops[0]
        return SplitCost(float(mine / whole), by, float(mine), {}, {}, 0.0, 0.0)

    def run(
        self,
        policy: Policy,
        split: Split,
        *,
        limit: int | None = None,
        groups: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> Results:
        out: list[SampleResult] = []
        for group in self.groups if groups is None else groups:
            found, row = self._samples[group, split], self._row(group, policy)
            for i, task in enumerate(found["task"][:limit]):
                out.append(
                    SampleResult(
                        f"{split}-{group}-{i}",
                        task,
                        group,
                        float(found["correct"][row, i]),
                        "",
                        float(found["log_probability"][row, i]),
                        float(found["divergence"][row, i]),
                    )
                )
        return Results(tuple(out))

    def accuracy(self, group: str, split: Split) -> np.ndarray:
        """Accuracy of every policy of a group."""
        return np.asarray(self._samples[group, split]["correct"].mean(1))

    def ratio(self, group: str, split: Split) -> np.ndarray:
        """FLOPs ratio of every policy of a group."""
        flops = self._samples[group, split]["flops"]
        return np.asarray(flops / flops[0])

    def weight(self, split: Split) -> dict[str, float]:
        """Share of each group in the uncompressed FLOPs."""
        base = {g: float(self._samples[g, split]["flops"][0]) for g in self.groups}
        return {g: value / sum(base.values()) for g, value in base.items()}

    def chance(self) -> float:
        """Accuracy of guessing on the search split, mean over groups."""
        return float(np.mean([self._samples[g, "search"]["chance"].mean() for g in self.groups]))


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(cost, accuracy) that no cheaper or equal one beats, cheapest first."""
    return pareto_front(points, cost=lambda point: point[0], value=lambda point: point[1])


def known_front(table: TableEvaluator, space: SearchSpace, split: Split = "search") -> list[tuple[float, float]]:
    """The front of all combinations of the space's policies, from the fronts of its modalities."""
    weight = table.weight(split)
    joint = [(0.0, 0.0)]
    for group in table.groups:
        inside = [i for i, p in enumerate(table.policies[group]) if not p.stages or space.holds(group, p.stages)]  # type: ignore[arg-type]
        costs, accuracy = table.ratio(group, split)[inside], table.accuracy(group, split)[inside]
        mine = pareto(list(zip(costs.tolist(), accuracy.tolist(), strict=True)))
        # The best sum of two parts is a sum of members of their fronts.
        joint = pareto([(a + weight[group] * c, b + acc / len(table.groups)) for a, b in joint for c, acc in mine])
    return joint


def best_within(front: Sequence[tuple[float, float]], budget: float) -> float:
    return max((accuracy for cost, accuracy in front if cost <= budget + 1e-9), default=0.0)


def replay(
    table: TableEvaluator,
    space: SearchSpace,
    name: str,
    seed: int,
    spend: int,
    *,
    races: bool = True,
    budget: float = 1.0,
) -> dict[str, Any]:
    """One run of a sampler on the table; the hypervolume of what it saw whole, after every spent sample-forward."""
    costs = Costs(table)
    engine = Engine(table, space, Budget(budget), costs, Conduct(races=races))
    engine.start(table.run(Policy(), "search"))
    strategy = build_strategy(name, seed, lambda m, keep: fitted(table, m, keep))  # type: ignore[arg-type]
    chance = table.chance()
    front: list[tuple[float, float]] = [(1.0, float(np.mean([*engine.uncompressed.values()])))]
    curve: list[tuple[int, float]] = [(0, 0.0)]
    best = {b: [] for b in BUDGETS}  # type: ignore[var-annotated]
    idle = asked = 0
    while engine.forwards < spend and idle < _IDLE and (name == "parts" or asked < _PROPOSALS):
        asked += 1
        proposal = strategy.propose(engine)
        if proposal is None or not all(table.has(g, proposal[1]) for g in table.groups):
            idle += 1
            if proposal is None:
                break
            engine.tried.add(proposal[1].content_hash())
            strategy.learn(engine, Refused(*proposal, "not_in_table", "the table has no results of it", {"rule": 1.0}))
            continue
        before, seen = engine.forwards, len(engine.completed)
        attempt = engine.attempt(*proposal)
        strategy.learn(engine, attempt)
        idle = 0 if engine.forwards > before or len(engine.completed) > seen else idle + 1
        if len(engine.completed) > seen:
            last = engine.completed[-1]
            front = pareto([*front, (last.flops_ratio, last.accuracy)])
            curve.append((engine.forwards, hypervolume([(acc, cost) for cost, acc in front], (chance, 1.0))))
            for b in BUDGETS:
                best[b].append((engine.forwards, best_within(front, b)))
    parts = combined(table, engine)
    return {
        "curve": curve,
        "best": best,
        "spent": engine.forwards,
        "seen": len(engine.completed),
        "test": on_test(table, engine),
        "combined": hypervolume([(accuracy, cost) for cost, accuracy in parts], (chance, 1.0)),
    }


def combined(table: TableEvaluator, engine: Engine) -> list[tuple[float, float]]:
    """The front of all combinations of the parts that a run saw whole, whether or not it put them together."""
    weight = table.weight("search")
    joint = [(0.0, 0.0)]
    for group in table.groups:
        mine = pareto([(entry.cost, entry.accuracy) for entry in engine.archive.entries(group)])
        joint = pareto([(a + weight[group] * c, b + acc / len(table.groups)) for a, b in joint for c, acc in mine])
    return joint


def on_test(table: TableEvaluator, engine: Engine) -> dict[str, float | None]:
    """Accuracy on the test split of the policy that is most accurate on search within each budget."""
    out: dict[str, float | None] = {}
    for b in BUDGETS:
        fitting = [seen for seen in engine.completed if seen.flops_ratio <= b + 1e-9]
        best = max(fitting, key=lambda seen: (seen.accuracy, -seen.flops_ratio), default=None)
        out[f"{b:g}"] = None if best is None else round(table.run(best.policy, "test").mean(), 4)
    return out


def fitted(table: TableEvaluator, modality: str, keep: float) -> list[float] | None:
    """FitPrune's schedule nearest to a mean keep ratio, fitted when the table was made; None where there was none."""
    ladder = table.ladder[modality]
    row = ladder[int(np.abs(ladder[:, 0] - keep).argmin())]
    return None if keep < 1 and row[1:].min() == 1 else [float(ratio) for ratio in row[1:]]


def at(curve: Sequence[tuple[int, float]], spent: int) -> float:
    """The curve's value after so many sample-forwards."""
    return max((value for x, value in curve if x <= spent), default=0.0)


def reached(curve: Sequence[tuple[int, float]], value: float) -> float:
    """Sample-forwards until a value is reached; infinity if never."""
    return next((float(x) for x, y in curve if y >= value - 1e-12), float("inf"))
