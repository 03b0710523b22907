"""The engine of a search: holds proposals against rules and budget, races them, and keeps what was learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from autotc.conflicts.rules import check_rules
from autotc.errors import ConflictError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.policy import UNCOMPRESSED, Policy
from autotc.results import Results, SampleResult, SplitCost
from autotc.search.objective import Budget, Costs, move_onto_budget
from autotc.search.pool import Pool, restricted
from autotc.search.race import rungs
from autotc.search.space import SearchSpace
from autotc.vocabulary import Group, Location

Outcome = Literal["ran", "raced", "refused", "failed", "known"]
OVER_BUDGET = "over_budget"
"""In place of a rule's name where a policy cannot be moved onto the budget."""
PREDICTED = "predicted_conflict"
"""In place of a rule's name where a stack is predicted to do worse than its best stage alone."""


@dataclass(frozen=True)
class Attempt:
    """What became of a proposal.

    Attributes:
        outcome: ``ran`` on the whole split; ``raced``: given up on part of it; ``refused`` before it ran; ``failed``:
            a mechanism raised; ``known`` from before.
        origin: who proposed it.
        policy: as it ran, moved onto the budget.
        rule, reason: why it was refused, lost its race or failed.
        constraints: name -> cost minus budget, of what was refused or ran.
        results: on the samples it ran on.
        cost: analytic, on the split.
        audited: a refused stack that was run all the same, to see whether the refusal was right.
    """

    outcome: Outcome
    origin: str
    policy: Policy
    rule: str = ""
    reason: str = ""
    constraints: Mapping[str, float] = field(default_factory=dict)
    results: Results | None = None
    cost: SplitCost | None = None
    audited: bool = False


@dataclass(frozen=True)
class Seen:
    """A policy that ran on the whole split.

    Attributes:
        policy, accuracy, accuracy_by, flops_ratio: mean over modality groups and of each, and analytic cost.
    """

    policy: Policy
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float


Gate = Callable[[Policy], str | None]
"""Asked before a stack runs: why it is predicted to conflict, or None."""


class Strategy(ABC):
    """Proposes policies to an engine and learns from what became of them."""

    name: ClassVar[str]

    @abstractmethod
    def propose(self, engine: Engine) -> tuple[str, Policy] | None:
        """(origin, policy) to try next; None where it has nothing more to propose."""

    def learn(self, engine: Engine, attempt: Attempt) -> None:
        """Told what became of a policy, also of those that others proposed. Does nothing itself."""
        return


def announce(evaluator: Evaluator, limit: int | None) -> None:
    """Tell an evaluator where races stop, before it prepares anything.

    Args:
        evaluator: to tell.
        limit: samples of each modality group; None for all.
    """
    sizes = evaluator.info("search").samples
    evaluator.announce_stops("search", {group: rungs(min(size, limit or size)) for group, size in sizes.items()})


class Engine:
    """Runs proposals on the search split.

    Attributes:
        space, budget, costs, evaluator: of the study.
        pool: what is known of each modality group.
        seen: policies that ran on the whole split, in order.
        tried: content hashes not to be tried again.
        barred: content hashes of stacks that failed, or were refused as predicted conflicts.
        spent: samples that were run: each is a forward of one sample under one policy. What predictions of conflicts
            run is not among them.
        uncompressed: modality group -> accuracy of the uncompressed model.

    Args:
        limit: samples of each modality group; None for all.
        races: whether policies that fall behind are given up.
        gate: asked before a stack runs.
        audit: every how many-th stack that the gate refuses runs all the same.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        space: SearchSpace,
        budget: Budget,
        costs: Costs,
        *,
        limit: int | None = None,
        races: bool = True,
        gate: Gate | None = None,
        audit: int = 8,
    ) -> None:
        self.evaluator, self.space, self.budget, self.costs = evaluator, space, budget, costs
        self.locations: dict[str, list[Location]] = {}
        for modality, location in evaluator.floors("search"):
            self.locations.setdefault(modality, []).append(location)  # type: ignore[arg-type]
        held = evaluator.info("search").samples
        self.sizes = {group: count if limit is None else min(limit, count) for group, count in held.items()}
        pure = [group for group in held if Group(group).is_pure]
        if races:
            announce(evaluator, limit)
        # Races are judged where one modality alone decides; where there is no such group, on the mixed ones.
        covered = {modality for group in held for modality in Group(group).modalities} <= set(pure)
        self.judged = tuple(pure) if covered else tuple(held)
        self.pool = Pool(held)
        self.seen: list[Seen] = []
        self.tried: set[str] = set()
        self.barred: set[str] = set()
        self.spent = 0
        self.uncompressed: dict[str, float] = {}
        self._races, self._gate, self._audit = races, gate, audit
        self.gated = 0
        self._found: dict[str, Seen] = {}
        self._legal: dict[str, tuple[str, str] | None] = {}

    def home(self, modality: str) -> str:
        """The group that tells most of a modality: its own, or the first that holds it."""
        return modality if modality in self.pool.groups else next(g for g in self.judged if Group(g).holds(modality))

    def start(self, uncompressed: Results) -> None:
        """Take the uncompressed model's results, which everything is compared with."""
        self.tried.add(UNCOMPRESSED.content_hash())
        for group in self.sizes:
            samples = [sample for sample in uncompressed.samples if sample.modality == group]
            entry = self.pool.put(UNCOMPRESSED, group, 1.0, samples, True)
            self.uncompressed[group] = entry.accuracy

    def restore(self, policy: Policy, results: Results, whole: bool) -> None:
        """Take results of an earlier run."""
        self.tried.add(policy.content_hash())
        by: dict[str, list[SampleResult]] = {}
        for sample in results.samples:
            by.setdefault(sample.modality, []).append(sample)
        for group, samples in by.items():
            self.spent += max(0, len(samples) - self.pool.seen(policy, group))
            self._note(policy, group, samples)
        if whole:
            self._complete(policy, results)

    def found(self, policy: Policy) -> Seen | None:
        """What a policy reached on the whole split, if it ran there."""
        return self._found.get(policy.content_hash())

    def legal(self, policy: Policy) -> tuple[str, str] | None:
        """(rule, reason) that refuses a policy, or None."""
        key = policy.content_hash()
        if key not in self._legal:
            try:
                check_rules(policy, self.evaluator.depths, self.locations)
                self._legal[key] = None
            except PolicyError as error:
                self._legal[key] = (error.rule if isinstance(error, ConflictError) else "does_not_fit", str(error))
        return self._legal[key]

    def attempt(self, origin: str, policy: Policy, *, race: bool = True) -> Attempt:
        """Try a proposal: rules, budget, predicted conflicts, then a race over the samples.

        Args:
            origin, policy: who proposed what.
            race: whether it may be given up; controls and presets, which everything is compared with, may not.
        """
        if policy.content_hash() in self.tried:
            return Attempt("known", origin, policy)
        refused = self.legal(policy)
        if refused is not None:
            return self._refused(origin, policy, *refused, {"rule": 1.0})
        try:
            moved = move_onto_budget(policy, self.budget, self.costs, self.space)
        except PolicyError as error:
            return self._refused(origin, policy, "does_not_fit", str(error), {"rule": 1.0})
        except Exception as error:  # the cost of a rule that sets its own count is measured, and may fail
            return self._failed(origin, policy, error)
        if moved is None:
            excess = self.budget.excess(self.costs(policy))
            return self._refused(origin, policy, OVER_BUDGET, "costs more than the budget at its lowest ratios", excess)
        if moved != policy:
            refused = self.legal(moved)
            if refused is not None:
                return self._refused(origin, policy, *refused, {"rule": 1.0})
        if moved.content_hash() in self.tried:
            return Attempt("known", origin, moved)
        try:
            reason = self._predicted(moved)
        except Exception as error:  # to predict is to run it, which may fail as a trial may
            return self._failed(origin, moved, error)
        if reason is not None:
            self.gated += 1
            if self.gated % self._audit:
                self.bar(moved)
                self.bar(policy)
                return self._refused(origin, moved, PREDICTED, reason, {"rule": 1.0})
        attempt = self._run(origin, moved, reason, race)
        if attempt.outcome == "failed":
            self.bar(policy)  # as it was proposed, too
        return attempt

    def _predicted(self, policy: Policy) -> str | None:
        if self._gate is None:
            return None
        for modality in policy.modalities:
            stack = Policy(stages=policy.modality(modality))
            # What has run already is known, not predicted.
            new = self.pool.find(stack, self.home(modality)) is None
            if len(stack.stages) > 1 and new and not stack.adaptive:
                reason = self._gate(stack)
                if reason is not None:
                    return reason
        return None

    def _refused(
        self, origin: str, policy: Policy, rule: str, reason: str, constraints: Mapping[str, float]
    ) -> Attempt:
        self.tried.add(policy.content_hash())
        return Attempt("refused", origin, policy, rule, reason, constraints)

    def _failed(self, origin: str, policy: Policy, error: Exception) -> Attempt:
        self.tried.add(policy.content_hash())
        self.bar(policy)
        what = next(iter(str(error).splitlines()), "")
        return Attempt("failed", origin, policy, "", f"{policy.label()}: {type(error).__name__}: {what}")

    def bar(self, policy: Policy) -> None:
        """Have the stacks of a policy not proposed again, but for those that have run."""
        for modality in policy.modalities:
            stack = Policy(stages=policy.modality(modality))
            if self.pool.find(stack, self.home(modality)) is None:
                self.barred.add(stack.content_hash())

    def estimate(self, policy: Policy) -> float:
        """Accuracy of a policy that did not run on all samples: the uncompressed model's, and on each group the paired
        change on the samples that were seen.
        """
        out = []
        for group, base in self.uncompressed.items():
            mine, plain = self.pool.find(policy, group), self.pool.find(UNCOMPRESSED, group)
            assert plain is not None  # the engine was started
            seen = 0 if mine is None else len(mine.evidence)
            change = 0.0
            if mine is not None and seen:
                change = float((mine.evidence.correct - plain.evidence.correct[:seen]).mean())
            out.append(base + change)
        return float(np.mean(out))

    def price(self, policy: Policy, group: str) -> float:
        """What a policy costs on a group relative to the uncompressed model, in the scarcest of what is budgeted."""
        whole = self.budget.used(self.costs(UNCOMPRESSED, group=group))
        return self.budget.used(self.costs(restricted(policy, group), group=group)) / whole

    def _run(self, origin: str, policy: Policy, predicted: str | None, race: bool) -> Attempt:
        self.tried.add(policy.content_hash())
        cost = self.costs(policy)
        excess = self.budget.excess(cost)
        found: dict[str, tuple[SampleResult, ...]] = {}
        lost = ""
        try:
            lost = self._race(policy, found) if self._races and race else ""
            for group, size in self.sizes.items():
                if not lost:
                    found[group] = self._samples(policy, group, size)
        except Exception as error:  # whatever a mechanism raises costs its own trial only
            return self._failed(origin, policy, error)
        results = Results(tuple(sample for group in self.sizes for sample in found.get(group, ())))
        audited = predicted is not None
        if lost:
            return Attempt("raced", origin, policy, "race", lost, excess, results, cost, audited)
        self._complete(policy, results)
        return Attempt("ran", origin, policy, "", predicted or "", excess, results, cost, audited)

    def _race(self, policy: Policy, found: dict[str, tuple[SampleResult, ...]]) -> str:
        """Run rung by rung; what the policy lost to, or nothing where it may still be better than the front."""
        steps = {group: rungs(self.sizes[group]) for group in self.judged}
        for turn in range(max(map(len, steps.values())) - 1):
            for group in self.judged:
                entry = self.pool.find(policy, group)
                if turn >= len(steps[group]) - 1 or (entry is not None and entry.whole):
                    continue
                found[group] = self._samples(policy, group, steps[group][turn])
                entry = self.pool.find(policy, group)
                assert entry is not None  # it has just run
                best = self.pool.incumbent(group, entry.cost)
                if best is not None and entry.evidence.beaten(best.evidence):
                    behind = 100 * float((best.evidence.soft[: len(entry.evidence)] - entry.evidence.soft).mean())
                    return (
                        f"{group}: {behind:.0f} points behind {best.policy.label()} after {len(entry.evidence)} samples"
                    )
        return ""

    def _samples(self, policy: Policy, group: str, stop: int) -> tuple[SampleResult, ...]:
        """A group's first samples under a policy; what has run before neither runs nor counts again."""
        known = self.pool.find(policy, group)
        if known is not None and len(known.samples) >= stop:
            return known.samples[:stop]
        samples = self.evaluator.run(policy, "search", limit=stop, groups=[group]).samples
        self.spent += max(0, len(samples) - self.pool.seen(policy, group))
        self._note(policy, group, samples)
        return samples

    def _note(self, policy: Policy, group: str, samples: Sequence[SampleResult]) -> None:
        if len(samples) > self.pool.seen(policy, group):
            whole = len(samples) >= self.sizes[group]
            self.pool.put(policy, group, self.price(policy, group), samples, whole)

    def _complete(self, policy: Policy, results: Results) -> None:
        by = {key: float(values.mean()) for key, values in results.groups("modality").items()}
        seen = Seen(policy, float(np.mean([*by.values()])), by, self.costs(policy).flops_ratio)
        self._found[policy.content_hash()] = seen
        self.seen.append(seen)
