"""Whether accuracy fell: one-sided tests against a tolerance, several at once after Holm, and equivalence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotc.errors import DataError, quote
from autotc.gate.demands import OVERALL, TASK, Demands
from autotc.policy import Measured
from autotc.records.check import Finding, Verdict
from autotc.results import Results
from autotc.statistics import Difference, Interval, difference_of_intervals, mean_of_differences, quantile

ALPHA = 0.05
"""Chance that a check fails, though no accuracy fell by more than its tolerance; and chance that one that did is
called equivalent."""
POWER = 0.8
"""Chance to show equivalence that the number of samples that would be needed is for."""
SHOWN_IDS = 5


@dataclass(frozen=True)
class Comparison:
    """A group's accuracy now and before.

    Attributes:
        name: modality group, ``task:NAME`` or ``overall``.
        now, before: accuracy.
        change: now minus before.
        samples: that were compared.
        tolerance: largest fall that passes.
    """

    name: str
    now: float
    before: float
    change: Difference
    samples: int
    tolerance: float

    @property
    def p_fell(self) -> float:
        """p-value of the hypothesis that accuracy fell by no more than the tolerance."""
        return self.change.p_at_least(-self.tolerance)

    @property
    def equivalent(self) -> bool:
        """Whether accuracy is shown to have fallen by less than the tolerance."""
        return self.change.p_at_most(-self.tolerance) < ALPHA

    def needed(self) -> int | None:
        """Samples with which equivalence would be shown in `POWER` of the cases, if nothing were lost.

        None where no number would do: a tolerance of 0.
        """
        if self.tolerance <= 0:
            return None
        reach = quantile(1 - ALPHA) + quantile(POWER)
        return math.ceil(self.samples * (reach * self.change.error / self.tolerance) ** 2)


def compare(results: Results, stored: Results, measured: Measured, demands: Demands) -> list[Comparison]:
    """Accuracy of each modality group, of tasks with a tolerance of their own, and of all, paired by sample.

    Args:
        results, stored: of the same samples, now and before.
        measured: of the baseline.
        demands: for the tolerances.

    Raises:
        DataError: a task that a tolerance names is not there.
    """
    changes = results.changes(stored)
    now, before = results.groups("modality"), stored.groups("modality")
    out = [
        Comparison(name, now[name].mean(), before[name].mean(), change, len(now[name]), demands.allowed(name, measured))
        for name, change in changes.items()
    ]
    if len(changes) > 1:
        whole = mean_of_differences(list(changes.values()))
        out.append(
            Comparison(OVERALL, results.mean(), stored.mean(), whole, len(results), demands.allowed(OVERALL, measured))
        )
    _check_names(demands, [one.name for one in out])
    tasks, by_task, earlier = results.changes(stored, "task"), results.groups("task"), stored.groups("task")
    for task in demands.tasks(measured):
        if task not in tasks:
            raise DataError(f"tolerance: {TASK}{task} is no task of the samples; known: {', '.join(tasks)}")
        allowed = demands.allowed(TASK + task, measured)
        scores = by_task[task]
        out.append(Comparison(TASK + task, scores.mean(), earlier[task].mean(), tasks[task], len(scores), allowed))
    return out


def _check_names(demands: Demands, known: Sequence[str]) -> None:
    """Refuse tolerances of what is not compared.

    Raises:
        DataError: a name is neither a modality group that was measured, nor ``overall``, nor a task's.
    """
    for name in demands.tolerances:
        if name not in known and not name.startswith(TASK):
            raise DataError(f"tolerance: {quote(name)} is not compared; known: {', '.join(known)} and {TASK}NAME")


def compare_intervals(
    now: Mapping[str, Interval], counts: Mapping[str, int], measured: Measured, demands: Demands
) -> list[Comparison]:
    """Accuracy of each modality group beside stored intervals: unpaired, so that only larger falls are seen."""
    out = []
    for name, before in measured.accuracy.items():
        if name in now:
            change = difference_of_intervals(now[name], before)
            error = (change.high - change.low) / 2 / quantile(0.975)
            difference = Difference(change.mean, (change.low + change.high) / 2, error, math.inf)
            allowed = demands.allowed(name, measured)
            out.append(Comparison(name, now[name].mean, before.mean, difference, counts[name], allowed))
    _check_names(demands, [one.name for one in out])
    if demands.tasks(measured):
        raise DataError(
            f"tolerance: {TASK}{demands.tasks(measured)[0]}: tasks are compared where the samples file is there"
        )
    return out


def judge(comparisons: Sequence[Comparison], *, equivalence: bool) -> tuple[list[Finding], set[str]]:
    """A finding for each comparison, and the names of those that are shown to have fallen.

    A fall fails where the p-values of all falls together show it (Holm 1979: the chance that any check fails without a
    cause is at most `ALPHA`); with ``equivalence`` whatever is not shown to be within its tolerance fails.
    """
    fallen = holm({one.name: one.p_fell for one in comparisons})
    return [_finding(one, fell=one.name in fallen, equivalence=equivalence) for one in comparisons], fallen


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> set[str]:
    """Names whose hypotheses are rejected together, with a chance of at most ``alpha`` that any is by mistake."""
    rejected = set[str]()
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > alpha / (len(p_values) - rank):
            break
        rejected.add(name)
    return rejected


def _finding(one: Comparison, *, fell: bool, equivalence: bool) -> Finding:
    change = one.change.interval()
    text = f"{one.now:.4f} ({change.mean:+.4f}, 95% {change.low:+.4f} to {change.high:+.4f})"
    needed = None if fell or one.equivalent else one.needed()
    if fell:
        text += f", p {one.p_fell:.2g}"
    elif one.equivalent:
        text += ", shown to be within it"
    elif needed is None:
        text += "; no number of samples shows that nothing is lost, a tolerance above 0 can be shown"
    else:
        text += f", not shown to be within it; about {needed:,} samples would"
    verdict: Verdict = "fail" if fell or (equivalence and not one.equivalent) else "pass" if one.equivalent else "warn"
    return Finding(
        what=f"accuracy {one.name}",
        expected=f"{one.before:.4f}, may fall by {one.tolerance:g}",
        found=text,
        verdict=verdict,
        change=change,
        p_value=one.p_fell,
        samples=one.samples,
        samples_needed=needed,
    )


def must_pass(results: Results, stored: Results | None, ids: Sequence[str]) -> Finding:
    """Whether samples that must never get worse are as right as before; without a baseline, right.

    Args:
        results: now.
        stored: before; None where nothing is known of it.
        ids: of the samples.

    Raises:
        DataError: a sample was not evaluated.
    """
    now = {sample.id: sample.correct for sample in results.samples}
    before = {} if stored is None else {sample.id: sample.correct for sample in stored.samples}
    unknown = [name for name in ids if name not in now]
    if unknown:
        raise DataError(
            f"must-pass: sample {quote(unknown[0])} is not among the {len(now)} that were evaluated"
            + (f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else "")
        )
    broken = [name for name in ids if now[name] < before.get(name, 1.0)]
    never = [name for name in ids if before.get(name, 1.0) <= 0]
    shown = ", ".join(quote(name) for name in broken[:SHOWN_IDS])
    found = f"{len(ids) - len(broken)} of {len(ids)}"
    if broken:
        found += f"; broken: {shown}" + (f" and {len(broken) - SHOWN_IDS} more" if len(broken) > SHOWN_IDS else "")
    elif never:
        found += f"; {len(never)} of them were wrong in the baseline: {quote(never[0])}"
    verdict: Verdict = "fail" if broken else "warn" if never else "pass"
    return Finding("must pass", f"{len(ids)} samples as right as before", found, verdict)
