"""Several workers of one search on the table of results, in simulated time; for `workers.py`."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from search_replay import TableEvaluator

from autotc.pareto import hypervolume, pareto_front
from autotc.policy import Policy
from autotc.search.budget import Budget, Costs
from autotc.search.engine import Conduct, Engine, Strategy
from autotc.search.outcome import Known, Outcome, Raced, Ran, Refused
from autotc.search.space import SearchSpace
from autotc.search.strategies import build_strategy

_PROPOSALS = 400
"""Of a worker in a row that run nothing, after which it has ended."""


@dataclass
class _Worker:
    """An engine and a strategy of its own, and how much it has heard of the others."""

    engine: Engine
    strategy: Strategy
    heard: int = 0


@dataclass
class _Fleet:
    """What has come to its end, with who ran it, and what runs."""

    told: list[tuple[int, Outcome]] = field(default_factory=list)
    running: dict[int, Outcome] = field(default_factory=dict)


def simulated(table: TableEvaluator, space: SearchSpace, seed: int, workers: int, trials: int) -> float:
    """Hypervolume of what several workers have found after so many trials that ran whole.

    A trial takes as long as the samples that it runs. A worker hears of a trial when that has come to its end, and
    knows meanwhile that it runs, as the workers of `autotc.search.searcher` do.
    """
    staff = [_hired(table, space, seed + 7_919 * number) for number in range(workers)]
    fleet, queue = _Fleet(), [(0, number) for number in range(workers)]
    while queue and sum(isinstance(outcome, Ran) for _, outcome in fleet.told) < trials:
        now, number = heapq.heappop(queue)
        if number in fleet.running:
            fleet.told.append((number, fleet.running.pop(number)))
        _hear(staff[number], number, fleet)
        spent = _begin(staff[number], number, fleet, table)
        if spent:
            heapq.heappush(queue, (now + spent, number))
    ran = {outcome.policy.content_hash(): outcome for _, outcome in fleet.told if isinstance(outcome, Ran)}
    values = [(outcome.results.mean(), outcome.cost.flops_ratio) for outcome in ran.values()]
    best = pareto_front(values, cost=lambda value: value[1], value=lambda value: value[0], tie=lambda value: 0.0)
    return hypervolume(best, (table.chance(), 1.0))


def _hired(table: TableEvaluator, space: SearchSpace, seed: int) -> _Worker:
    engine = Engine(table, space, Budget(1.0), Costs(table), Conduct(races=True))
    engine.start(table.run(Policy(), "search"))
    return _Worker(engine, build_strategy("parts", seed, lambda modality, keep: None))


def _hear(worker: _Worker, number: int, fleet: _Fleet) -> None:
    """Take in what others have brought to its end, and what they run."""
    for author, outcome in fleet.told[worker.heard :]:
        if author != number:
            if isinstance(outcome, Ran | Raced):
                worker.engine.restore(outcome.policy, outcome.results, isinstance(outcome, Ran))
            worker.engine.tried.add(outcome.policy.content_hash())
            worker.strategy.learn(worker.engine, outcome)
    worker.heard = len(fleet.told)
    worker.engine.promise(outcome.policy for outcome in fleet.running.values())


def _begin(worker: _Worker, number: int, fleet: _Fleet, table: TableEvaluator) -> int:
    """Propose until something runs; the samples that it takes, or 0 where nothing new is found."""
    engine, strategy = worker.engine, worker.strategy
    for _ in range(_PROPOSALS):
        proposal = strategy.propose(engine)
        if proposal is None:
            return 0
        if not all(table.has(group, proposal[1]) for group in table.groups):
            engine.tried.add(proposal[1].content_hash())
            strategy.learn(engine, Refused(*proposal, "not_in_table", "the table has no results of it", {"rule": 1.0}))
            continue
        before = engine.forwards
        outcome = engine.attempt(*proposal)
        strategy.learn(engine, outcome)
        if engine.forwards > before:
            fleet.running[number] = outcome
            return engine.forwards - before
        if not isinstance(outcome, Known | Refused):
            fleet.told.append((number, outcome))  # put together from known parts
            worker.heard = len(fleet.told)
    return 0
