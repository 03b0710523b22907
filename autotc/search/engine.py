"""The engine of a search: holds proposals against rules and budget, races them, and keeps what was learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autotc.conflicts.rules import check_rules
from autotc.errors import ConflictError, PolicyError, one_line
from autotc.evaluate.base import Evaluator
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.results import Results
from autotc.search.archive import Archive, restricted
from autotc.search.budget import Budget, Costs, move_onto_budget
from autotc.search.failures import MechanismFailures, mechanisms_of
from autotc.search.interrupts import TrialTimeout, check_interrupts, time_limit
from autotc.search.outcome import LEFT_OUT, OVER_BUDGET, PREDICTED_CONFLICT, Failed, Known, Outcome, Raced, Ran, Refused
from autotc.search.race import rungs
from autotc.search.space import SearchSpace
from autotc.vocabulary import Group, Location


@dataclass(frozen=True)
class Completed:
    """A policy that ran on the whole split.

    Attributes:
        policy: that ran.
        accuracy: mean over modality groups.
        accuracy_by: modality group -> accuracy.
        flops_ratio: on the split.
    """

    policy: Policy
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float


_FAILURES = (Exception, SystemExit, TrialTimeout)
"""What costs a trial, not the search: a mechanism may raise anything."""
ConflictPredictor = Callable[[Policy], str | None]
"""Asked before a stack runs: why it is predicted to do worse than the better of its stages, or None."""


@dataclass(frozen=True)
class Conduct:
    """How an engine runs policies.

    Attributes:
        limit: samples of each modality group; None for all.
        races: whether policies that fall behind are given up.
        predict_conflict: asked before a stack runs; None lets all run.
        audit: every how many-th stack that is predicted to conflict runs all the same.
        timeout: seconds after which a trial is failed; None lets it run.
        before_run: told who proposed a policy, and the policy, before samples run under it; False where another
            process runs the same, so that it is not to be run here.
    """

    limit: int | None = None
    races: bool = True
    predict_conflict: ConflictPredictor | None = None
    audit: int = 8
    timeout: float | None = None
    before_run: Callable[[str, Policy], bool] | None = None


class Strategy(ABC):
    """Proposes policies to an engine and learns from what became of them."""

    name: ClassVar[str]

    @abstractmethod
    def propose(self, engine: Engine) -> tuple[str, Policy] | None:
        """(origin, policy) to try next; None where it has nothing more to propose."""

    def learn(self, engine: Engine, outcome: Outcome) -> None:
        """Told what became of a policy, also of those that others proposed. Does nothing itself."""
        return


def announce_stops(evaluator: Evaluator, limit: int | None) -> None:
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
        archive: what is known of each modality group.
        completed: policies that ran on the whole split, in order.
        tried: content hashes not to be tried again.
        blocked: content hashes of stacks that failed, or were refused as predicted conflicts.
        forwards: samples that were run, each under one policy. What predictions of conflicts run is not among them.
        uncompressed: modality group -> accuracy of the uncompressed model.
        locations: modality -> locations where the model's adapter lets stages act.
        sizes: modality group -> samples of the split that are used.
        judged: modality groups on which races are decided.
        conflicts_predicted: stacks that were predicted to conflict so far.
        failures: of mechanisms; those that are left out are refused by a rule of their own.

    Args:
        conduct: how policies are run.
    """

    def __init__(
        self, evaluator: Evaluator, space: SearchSpace, budget: Budget, costs: Costs, conduct: Conduct | None = None
    ) -> None:
        self._conduct = conduct = conduct or Conduct()
        self.evaluator, self.space, self.budget, self.costs = evaluator, space, budget, costs
        self.locations: dict[str, list[Location]] = {}
        for modality, location in evaluator.floors("search"):
            self.locations.setdefault(modality, []).append(location)  # type: ignore[arg-type]
        held = evaluator.info("search").samples
        self.sizes = {group: min(conduct.limit or count, count) for group, count in held.items()}
        pure = [group for group in held if Group(group).is_pure]
        if conduct.races:
            announce_stops(evaluator, conduct.limit)
        # Races are judged where one modality alone decides; where there is no such group, on the mixed ones.
        covered = {modality for group in held for modality in Group(group).modalities} <= set(pure)
        self.judged = tuple(pure) if covered else tuple(held)
        self.archive = Archive(held)
        self.completed: list[Completed] = []
        self.tried: set[str] = set()
        self.blocked: set[str] = set()
        self.forwards = 0
        self.uncompressed: dict[str, float] = {}
        self.conflicts_predicted = 0
        self.failures = MechanismFailures()
        self._completed: dict[str, Completed] = {}
        self._legal: dict[str, tuple[str, str] | None] = {}
        self._promised: dict[str, set[str]] = {}
        self._running: list[Policy] = []

    def main_group(self, modality: str) -> str:
        """The group that tells most of a modality: its own, or the first judged one that holds it."""
        if modality in self.archive.groups:
            return modality
        return next(group for group in self.judged if Group(group).holds(modality))

    def start(self, uncompressed: Results) -> None:
        """Take the uncompressed model's results, which everything is compared with."""
        self.tried.add(UNCOMPRESSED.content_hash())
        by_group = uncompressed.by("modality")
        for group in self.sizes:
            entry = self.archive.put(UNCOMPRESSED, group, 1.0, by_group.get(group, Results(())), True)
            self.uncompressed[group] = entry.accuracy

    def restore(
        self, policy: Policy, results: Results, complete: bool, prices: Mapping[str, float] | None = None
    ) -> None:
        """Take results of an earlier call, or of another process.

        ``complete``: of the whole split; ``prices``: modality group -> `price`, computed where it is not given.
        """
        self.tried.add(policy.content_hash())
        for group, part in results.by("modality").items():
            self._note(policy, group, part, (prices or {}).get(group))
        if complete:
            self._complete(policy, results)

    def promise(self, policies: Iterable[Policy]) -> None:
        """Take what other processes run now: neither it nor any part of it is to be run here as well."""
        self._promised, self._running = {}, list(policies)
        for policy in self._running:
            for group in self.sizes:
                if self._is_new(policy, group):
                    self._promised.setdefault(group, set()).add(restricted(policy, group).content_hash())

    def promised(self, policy: Policy) -> bool:
        """Whether another process runs a part of a policy that is not known yet."""
        return any(restricted(policy, group).content_hash() in parts for group, parts in self._promised.items())

    def awaited(self, modality: str) -> list[tuple[Stage, ...]]:
        """Stacks of a modality that other processes run now, and that nothing is known of."""
        stacks = [Policy(stages=policy.modality(modality)) for policy in self._running]
        group = self.main_group(modality)
        return [stack.stages for stack in stacks if stack.stages and self.archive.find(stack, group) is None]

    def clash(self, policy: Policy, other: Policy) -> bool:
        """Whether two policies have a part in common that is not known yet."""
        return any(
            self._is_new(policy, group) and restricted(policy, group) == restricted(other, group)
            for group in self.sizes
        )

    def _is_new(self, policy: Policy, group: str) -> bool:
        return self.archive.samples_seen(policy, group) < self.sizes[group]

    def completed_run(self, policy: Policy) -> Completed | None:
        """What a policy reached on the whole split, if it ran there."""
        return self._completed.get(policy.content_hash())

    def legal(self, policy: Policy) -> tuple[str, str] | None:
        """(rule, reason) that refuses a policy, or None."""
        for name in mechanisms_of(policy):
            if name in self.failures.left_out:
                return LEFT_OUT, f"{name} failed whenever it ran"
        key = policy.content_hash()
        if key not in self._legal:
            try:
                check_rules(policy, self.evaluator.depths, self.locations)
                self._legal[key] = None
            except PolicyError as error:
                self._legal[key] = (error.rule if isinstance(error, ConflictError) else "does_not_fit", str(error))
        return self._legal[key]

    def attempt(self, origin: str, policy: Policy, *, race: bool = True) -> Outcome:
        """Try a proposal: rules, budget, predicted conflicts, then a race over the samples.

        Args:
            origin, policy: who proposed what.
            race: whether it may be given up; controls and presets, which everything is compared with, may not.
        """
        if policy.content_hash() in self.tried or self.promised(policy):
            return Known(origin, policy)
        moved = self._moved(origin, policy)
        if not isinstance(moved, Policy):
            return moved
        if self.promised(moved):
            return Known(origin, moved)
        begin = self._conduct.before_run
        if begin is not None and self._has_to_run(moved) and not begin(origin, moved):
            return Known(origin, moved)
        try:
            with time_limit(self._conduct.timeout):
                conflict = self._conflict(moved)
        except _FAILURES as error:  # to predict is to run it, which may fail as a trial may
            return self._failed(origin, moved, error)
        if conflict is not None:
            self.conflicts_predicted += 1
            if self.conflicts_predicted % self._conduct.audit:
                self.block(moved)
                self.block(policy)
                return self._refused(origin, moved, PREDICTED_CONFLICT, conflict)
        outcome = self._run(origin, moved, conflict is not None, race)
        if isinstance(outcome, Failed):
            self.block(policy)  # as it was proposed, too
        return outcome

    def _moved(self, origin: str, policy: Policy) -> Policy | Outcome:
        """The proposal moved onto the budget, or what became of it where it cannot run."""
        refused = self.legal(policy)
        if refused is not None:
            return self._refused(origin, policy, *refused)
        try:
            moved = move_onto_budget(policy, self.budget, self.costs, self.space)
        except PolicyError as error:
            return self._refused(origin, policy, "does_not_fit", str(error))
        except _FAILURES as error:  # the cost of a rule that sets its own count is measured, and may fail
            return self._failed(origin, policy, error)
        if moved is None:
            excess = self.budget.excess(self.costs(policy))
            return self._refused(origin, policy, OVER_BUDGET, "costs more than the budget at its lowest ratios", excess)
        if moved != policy:
            refused = self.legal(moved)
            if refused is not None:
                return self._refused(origin, policy, *refused)
        return Known(origin, moved) if moved.content_hash() in self.tried else moved

    def _conflict(self, policy: Policy) -> str | None:
        """Why a new stack of the policy is predicted to conflict, or None."""
        if self._conduct.predict_conflict is None:
            return None
        for modality in policy.modalities:
            stack = Policy(stages=policy.modality(modality))
            # What has run already is known, not predicted.
            new = self.archive.find(stack, self.main_group(modality)) is None
            if len(stack.stages) > 1 and new and not stack.adaptive:
                reason = self._conduct.predict_conflict(stack)
                if reason is not None:
                    return reason
        return None

    def _refused(
        self, origin: str, policy: Policy, rule: str, reason: str, constraints: Mapping[str, float] | None = None
    ) -> Refused:
        self.tried.add(policy.content_hash())
        return Refused(origin, policy, rule, reason, {"rule": 1.0} if constraints is None else constraints)

    def _has_to_run(self, policy: Policy) -> bool:
        """Whether samples have to run for a policy, or all is known from policies with the same stages."""
        return any(self._is_new(policy, group) for group in self.sizes)

    def _failed(self, origin: str, policy: Policy, error: BaseException) -> Failed:
        self.tried.add(policy.content_hash())
        self.block(policy)
        what = one_line(next(iter(str(error).splitlines()), ""), 500)
        self.failures.failed(policy, what)
        return Failed(origin, policy, f"{policy.label()}: {type(error).__name__}: {what}")

    def block(self, policy: Policy) -> None:
        """Have the stacks of a policy not proposed again, but for those that have run."""
        for modality in policy.modalities:
            stack = Policy(stages=policy.modality(modality))
            if self.archive.find(stack, self.main_group(modality)) is None:
                self.blocked.add(stack.content_hash())

    def estimate(self, policy: Policy) -> float:
        """Accuracy of a policy that did not run on all samples: the uncompressed model's, and on each group the paired
        change on the samples that were seen.
        """
        estimates = []
        for group, base in self.uncompressed.items():
            entry, reference = self.archive.find(policy, group), self.archive.find(UNCOMPRESSED, group)
            assert reference is not None  # the engine was started
            change = 0.0
            if entry is not None and len(entry.evidence):
                change = float((entry.evidence.correct - reference.evidence.correct[: len(entry.evidence)]).mean())
            estimates.append(base + change)
        return float(np.mean(estimates))

    def prices(self, policy: Policy) -> dict[str, float]:
        """`price` on each group that a policy has run on."""
        entries = {group: self.archive.find(policy, group) for group in self.sizes}
        return {group: entry.cost for group, entry in entries.items() if entry is not None}

    def price(self, policy: Policy, group: str) -> float:
        """What a policy costs on a group relative to the uncompressed model, in the scarcest of what is budgeted."""
        uncompressed = self.budget.used(self.costs(UNCOMPRESSED, group=group))
        return self.budget.used(self.costs(restricted(policy, group), group=group)) / uncompressed

    def _run(self, origin: str, policy: Policy, audited: bool, race: bool) -> Outcome:
        self.tried.add(policy.content_hash())
        cost = self.costs(policy)
        excess = self.budget.excess(cost)
        parts: dict[str, Results] = {}
        lost = ""
        try:
            with time_limit(self._conduct.timeout):
                lost = self._race(policy, parts) if self._conduct.races and race else ""
                for group, size in self.sizes.items():
                    if not lost:
                        parts[group] = self._results(policy, group, size)
        except _FAILURES as error:  # whatever a mechanism raises costs its own trial only
            return self._failed(origin, policy, error)
        self.failures.went_well(policy)
        results = Results.joined(parts[group] for group in self.sizes if group in parts)
        if lost:
            return Raced(origin, policy, excess, results, cost, audited, reason=lost)
        self._complete(policy, results)
        return Ran(origin, policy, excess, results, cost, audited)

    def _race(self, policy: Policy, parts: dict[str, Results]) -> str:
        """Run rung by rung, group by group; results go into ``parts``.

        Returns:
            What the policy lost to, or nothing where it may still be better than the front.
        """
        steps = {group: rungs(self.sizes[group]) for group in self.judged}
        for turn in range(max(map(len, steps.values())) - 1):
            for group in self.judged:
                entry = self.archive.find(policy, group)
                if turn >= len(steps[group]) - 1 or (entry is not None and entry.complete):
                    continue
                parts[group] = self._results(policy, group, steps[group][turn])
                entry = self.archive.find(policy, group)
                assert entry is not None  # it has just run
                best = self.archive.incumbent(group, entry.cost)
                if best is not None and entry.evidence.beaten(best.evidence):
                    behind = 100 * float((best.evidence.soft[: len(entry.evidence)] - entry.evidence.soft).mean())
                    return (
                        f"{group}: {behind:.0f} points behind {best.policy.label()} after {len(entry.evidence)} samples"
                    )
        return ""

    def _results(self, policy: Policy, group: str, stop: int) -> Results:
        """Of a group's first samples under a policy; what has run before neither runs nor counts again."""
        known = self.archive.find(policy, group)
        if known is not None and len(known.results) >= stop:
            return known.results.first(stop)
        check_interrupts()
        results = self.evaluator.run(policy, "search", limit=stop, groups=[group])
        self._note(policy, group, results)
        return results

    def _note(self, policy: Policy, group: str, results: Results, price: float | None = None) -> None:
        seen = self.archive.samples_seen(policy, group)
        self.forwards += max(0, len(results) - seen)
        if len(results) > seen:
            price = self.price(policy, group) if price is None else price
            self.archive.put(policy, group, price, results, len(results) >= self.sizes[group])

    def _complete(self, policy: Policy, results: Results) -> None:
        by_group = {key: float(values.mean()) for key, values in results.groups("modality").items()}
        run = Completed(policy, float(np.mean([*by_group.values()])), by_group, self.costs(policy).flops_ratio)
        self._completed[policy.content_hash()] = run
        self.completed.append(run)
