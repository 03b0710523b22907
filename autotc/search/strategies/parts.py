"""The search's own strategy: one modality at a time, by expected gain of that modality's front; then combined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.search.archive import Entry
from autotc.search.budget import single_stage
from autotc.search.combine import combine
from autotc.search.engine import Engine, Strategy
from autotc.search.outcome import Known, Outcome, Refused
from autotc.search.space import Choice
from autotc.search.strategies.neighbours import interleaved, may_act_once, neighbours
from autotc.search.strategies.published import scheduled
from autotc.search.strategies.surrogate import Surrogate, improvement
from autotc.vocabulary import Group, Modality

Array = NDArray[np.float64]
_RANDOM = 24
"""Random stacks among the candidates of a step."""
_CANDIDATES = 96
"""Candidates of a step whose gain is worked out."""
_FIRST = 6
"""Stacks of a modality that are tried before gains are estimated."""
_NEW = 3
"""Every how many-th turn of a modality goes to a kind that was not met, as long as there are any."""
_COMBINED = 4
"""Combinations for each new part where they cost nothing."""
_NEAR = (0.5, 1.4)
"""Costs, in multiples of the budget, between which a gain of a modality's front counts."""
_TARGETS = (1.0, 1.0, 0.85, 1.0, 0.7)
"""Budgets of successive combinations as shares of the study's: mostly all of it, now and then less, for the front."""


class Parts(Strategy):
    """Searches each modality by itself, since its stages alone decide its samples' results.

    First a few kinds of stages, each at a middle ratio, and the cheapest schedule where the whole front counts. Then,
    modalities in turn, the candidate (of random stacks and changes of the front's) with the largest expected gain of
    hypervolume under a Gaussian process, and now and then a kind that was not met yet. It runs beside what is best for
    the other modalities under the budget, whose results are known. Every other proposal combines what is known.

    Args:
        seed: of the random draws.
    """

    name = "parts"

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._surrogates: dict[str, Surrogate] = {}
        self._design: dict[str, list[tuple[Stage, ...]]] = {}
        self._cheapest: dict[str, tuple[Stage, ...] | None] = {}
        self._turn = self._combined = self._since = 0
        self._proposed = ""
        self._useless: set[str] = set()

    def propose(self, engine: Engine) -> tuple[str, Policy] | None:
        modalities = list(engine.space.modalities)
        # Where every group has one modality, a combination is known from its parts and runs nothing.
        free = all(Group(group).is_pure for group in engine.archive.groups)
        for _ in range(2 * len(modalities)):
            if self._since and (free or not any(self._beginning(engine, m) for m in modalities)):
                self._since -= 1
                policy = self._combination(engine)
                if policy is not None:
                    return "combine", policy
            self._since = _COMBINED if free else 1
            self._turn += 1
            modality = modalities[self._turn % len(modalities)]
            stages = self._candidate(engine, modality)
            if stages is None:
                continue
            self._proposed = Policy(stages=stages).content_hash()
            policy = self._beside(engine, modality, stages)
            if policy is not None:
                return self.name, policy
        return None

    def learn(self, engine: Engine, outcome: Outcome) -> None:
        # A stack that had to be moved onto what is known, or was refused, would be proposed for ever.
        if outcome.origin == self.name and isinstance(outcome, Known | Refused):
            self._useless.add(self._proposed)

    def _beginning(self, engine: Engine, modality: Modality) -> bool:
        """Whether too little is known of a modality to estimate gains, and there are kinds left to begin with."""
        known = engine.archive.entries(engine.main_group(modality), partial=True)
        return len(known) <= _FIRST and bool(self._designed(engine, modality))

    def _designed(self, engine: Engine, modality: Modality) -> list[tuple[Stage, ...]]:
        """What is left of the first stacks of a modality: each kind alone, at a middle ratio; the cheapest schedule.

        A stack stays until it has run or proved useless: it may be proposed beside one that loses its race first.
        """
        if modality not in self._design:
            self._cheapest[modality] = self._least(engine, modality)
            singles = [self._single(engine, modality, choice) for choice in engine.space.modalities[modality].choices]
            self._design[modality] = [s for s in [*singles, self._cheapest[modality]] if s is not None]
        if self._design[modality]:
            group = engine.main_group(modality)
            entries = engine.archive.entries(group, partial=True)
            met = {(s.mechanism, s.location) for entry in entries for s in entry.policy.modality(modality)}

            def needed(stages: tuple[Stage, ...]) -> bool:
                policy = Policy(stages=stages)
                key = policy.content_hash()
                barred = key in engine.blocked or key in self._useless or engine.promised(policy)
                if barred or engine.archive.find(policy, group) is not None:
                    return False
                kind = stages[0].mechanism, stages[0].location
                return stages == self._cheapest[modality] or kind not in met

            self._design[modality][:] = [stages for stages in self._design[modality] if needed(stages)]
        return self._design[modality]

    def _least(self, engine: Engine, modality: Modality) -> tuple[Stage, ...] | None:
        """The cheapest schedule, where the front begins; none under a budget, where only what is near it counts."""
        if not engine.budget.unlimited:
            return None
        found: list[tuple[Stage, ...]] = []
        for choice in engine.space.modalities[modality].choices:
            if choice.several and may_act_once(choice):
                stage = single_stage(modality, choice, min(choice.layers), round(choice.keep_ratio[0] * 100))
                if engine.legal(Policy(stages=(stage,))) is None:
                    found.append((stage,))
        group = engine.main_group(modality)
        return min(found, key=lambda stages: engine.price(Policy(stages=stages), group), default=None)

    def _single(self, engine: Engine, modality: Modality, choice: Choice) -> tuple[Stage, ...] | None:
        """A kind of stage alone, legal, at a middle layer and ratio, or falling from there over all its layers; None
        where there is none.
        """
        low, high = (round(ratio * 100) for ratio in choice.keep_ratio)
        grid = engine.space.grid(choice)
        layers = sorted(choice.layers)
        if "free" in choice.schedules:
            falling = np.geomspace((low + high) / 200, low / 100, len(layers))
            policy = scheduled(choice, modality, falling.tolist(), grid)
            if policy is not None and engine.legal(policy) is None:
                return policy.stages
        if may_act_once(choice):
            ratio = max(low, round((low + high) / 2 / grid) * grid)
            stage = single_stage(modality, choice, layers[(len(layers) - 1) // 2] if layers else None, ratio)
            single = (stage,)
            return single if engine.legal(Policy(stages=single)) is None else None
        for _ in range(50):
            stages = engine.space.draw(modality, self._rng)
            alone = len(stages) == 1 and engine.space.choice(stages[0]) == choice
            if alone and engine.legal(Policy(stages=stages)) is None:
                return stages
        return None

    def _candidate(self, engine: Engine, modality: Modality) -> tuple[Stage, ...] | None:
        """The stack to run next for a modality; None where no new one is found."""
        design = self._designed(engine, modality)
        round_ = self._turn // len(engine.space.modalities)
        if design and (self._beginning(engine, modality) or round_ % _NEW == 0):
            return design[0]
        candidates = self._candidates(engine, modality)
        if not candidates:
            return design[0] if design else None
        group = engine.main_group(modality)
        entries = engine.archive.entries(group, partial=True)
        plain = next(entry for entry in entries if not entry.policy.stages)
        surrogate = self._surrogates.setdefault(
            modality,
            Surrogate(
                engine.space,
                modality,
                (engine.evaluator.depths.decoder, engine.evaluator.depths.encoder.get(modality, 1)),
            ),
        )
        differences = [entry.evidence.soft - plain.evidence.soft[: len(entry.evidence)] for entry in entries]
        losses = np.array([change.mean() for change in differences])
        noise = np.array([(change @ change + 0.5) / (len(change) + 2) ** 2 for change in differences])
        surrogate.fit([entry.policy.modality(modality) for entry in entries], losses, noise)
        surrogate.believe(engine.awaited(modality))
        mean, deviation = surrogate.predict(candidates)
        costs = np.array([engine.price(Policy(stages=s), group) for s in candidates])
        gain = expected_gain(
            engine.archive.front(group), costs, plain.soft_accuracy + mean, deviation, self._range(engine)
        )
        return candidates[int(np.argmax(gain))]

    def _range(self, engine: Engine) -> tuple[float, float]:
        budget = 1 / engine.budget.used(engine.costs(UNCOMPRESSED))
        return (0.0, 1.0) if budget >= 1 else (_NEAR[0] * budget, min(1.0, _NEAR[1] * budget))

    def _candidates(self, engine: Engine, modality: Modality) -> list[tuple[Stage, ...]]:
        """New legal stacks: random ones, and changes of the front's."""
        group = engine.main_group(modality)
        found: dict[str, tuple[Stage, ...]] = {}

        def add(stages: Sequence[Stage]) -> None:
            policy = Policy.of(stages)
            key = policy.content_hash()
            if not stages or key in found or key in engine.blocked or key in self._useless:
                return
            if engine.archive.find(policy, group) is not None or engine.promised(policy):
                return
            if engine.legal(policy) is None and engine.space.holds(modality, policy.stages):
                found[key] = policy.stages

        front = engine.archive.front(group)
        order = self._rng.permutation(len(front))
        for stages in interleaved(
            [neighbours(front[i].policy.modality(modality), engine.space, modality) for i in order]
        ):
            add(stages)
            if len(found) >= _CANDIDATES - _RANDOM:
                break
        for _ in range(_RANDOM):
            add(engine.space.draw(modality, self._rng))
        return list(found.values())

    def _beside(self, engine: Engine, modality: Modality, stages: tuple[Stage, ...]) -> Policy | None:
        """The stack beside the best for the other modalities under the budget."""
        budget = engine.budget
        if budget.unlimited:
            # Without a budget the others are taken from anywhere on their fronts.
            budget = budget.tightened(float(self._rng.uniform(0.3, 1.0)))
        policy = combine(engine, budget, fixed={modality: stages}, lowered=False)
        policy = policy or combine(engine, engine.budget, fixed={modality: stages}, lowered=False)
        if policy is not None:
            return policy
        # Nothing known of the others saves enough: they get something new as well, and all of it moves onto the budget.
        others = [m for m in engine.space.modalities if m != modality]
        found = list(stages)
        for other in others:
            design = self._designed(engine, other)
            found += design[0] if design else self._drawn(engine, other)
        return Policy.of(found)

    def _drawn(self, engine: Engine, modality: Modality) -> tuple[Stage, ...]:
        """A random stack that is not barred; nothing where none is found."""
        for _ in range(20):
            stages = engine.space.draw(modality, self._rng)
            policy = Policy(stages=stages)
            if policy.content_hash() not in engine.blocked and not engine.promised(policy):
                return stages
        return ()

    def _combination(self, engine: Engine) -> Policy | None:
        self._combined += 1
        if engine.budget.unlimited:
            return combine(engine, engine.budget.tightened(float(self._rng.uniform(0.2, 1.0))), lowered=False)
        share = _TARGETS[self._combined % len(_TARGETS)]
        return combine(engine, engine.budget.tightened(share))


def expected_gain(
    front: Sequence[Entry], costs: Array, mean: Array, deviation: Array, span: tuple[float, float]
) -> Array:
    """Expected gain of a front's hypervolume from each candidate, counted between two costs.

    Args:
        front: cheapest first.
        costs: (n,) of the candidates.
        mean, deviation: (n,) of their accuracy.
        span: costs between which a gain counts.
    """
    low, high = span
    edges = [low, *(min(high, max(low, entry.cost)) for entry in front), high]
    levels = [0.0, *(entry.soft_accuracy for entry in front)]
    levels = list(np.maximum.accumulate(levels))
    gain = np.zeros(len(costs))
    for i, level in enumerate(levels):
        width = np.clip(edges[i + 1] - np.maximum(edges[i], costs), 0.0, None)
        if width.any():
            gain += width * improvement(mean, deviation, level)
    return gain
