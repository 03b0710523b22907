"""The regression gate: does a policy still keep the accuracy and the cost that were measured when it was written?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from autotc.errors import DataError, NotFiniteError, one_line
from autotc.evaluate.base import Evaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.files import write_text
from autotc.gate.accuracy import Comparison, compare, compare_intervals, judge, must_pass
from autotc.gate.baseline import (
    blame,
    drift,
    load_measured,
    matching,
    same_model,
    same_samples,
    samples_path,
    stored_results,
    uncompressed_path,
)
from autotc.gate.costs import cost_findings, latency_findings
from autotc.gate.demands import CheckOptions, Demands
from autotc.policy import UNCOMPRESSED, Measured, Policy, local_file
from autotc.progress import Progress
from autotc.records.check import CheckReport, Finding, junit_error, passing
from autotc.results import Results
from autotc.statistics import Interval
from autotc.versions import installed_versions
from autotc.vocabulary import Split


def check(
    policy: str | Path,
    evaluator: Evaluator | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Evaluate a policy again and compare with what was measured, paired by sample where the samples file is there.

    Accuracy fails where it is shown to have fallen by more than the tolerance: by one-sided tests of each modality
    group, of all together and of tasks with a tolerance of their own, with a chance of at most 5% that any of them
    fails without a cause (Holm 1979). It passes where it is shown not to have, and warns, with the samples that it
    would take, where there are too few to tell. Where it failed, the uncompressed model runs again on the same samples.

    Args:
        policy: its file; ``x.samples.parquet`` beside it makes the comparison paired.
        evaluator: on the data and the model that the policy was measured on; None takes the embedded model and its
            benchmark.
        progress: called with samples done and samples in all.
        **options: see `CheckOptions`; all may be left out.

    Raises:
        PolicyError: the file is wrong, holds no measurement, or is for another architecture.
        DataError: the samples file cannot be read, or the model's logits are not finite without the policy either.

    Example:
        >>> report = autotc.check("policies/tiny-omni-0.4.yaml", limit=50)  # doctest: +SKIP
        >>> report.passed  # doctest: +SKIP
    """
    demands = Demands.of(options)
    asked, baseline = _read(policy, demands)
    evaluator = embedded_evaluator(seed=baseline.measured.seed) if evaluator is None else evaluator
    check = _Check(policy, asked, baseline, evaluator, demands, progress)
    report = check.run()
    if demands.accept:
        if check.results is None:
            failed = next((finding for finding in report.findings if finding.verdict == "fail"), None)
            why = "" if failed is None else f" ({failed.what}: {one_line(failed.found, 120)})"
            raise DataError(f"{policy}: nothing was measured that could be accepted{why}")
        _write_baseline(policy, evaluator, check.results)
    return report


@dataclass(frozen=True)
class _Baseline:
    """What a policy is compared with.

    Attributes:
        path: of the policy file that holds it.
        measured: there.
        split: that it was measured on.
    """

    path: Path
    measured: Measured
    split: Split


@dataclass
class _Check:
    """One check.

    Attributes:
        path: of the policy, for the report.
        policy: that runs.
        baseline: what it is compared with.
        evaluator: runs it.
        demands: of it.
        progress: called with samples done and samples in all.
        results: of the policy, once it ran.
    """

    path: str | Path
    policy: Policy
    baseline: _Baseline
    evaluator: Evaluator
    demands: Demands
    progress: Progress | None = None
    results: Results | None = None

    def run(self) -> CheckReport:
        """Make all findings."""
        return CheckReport(str(self.path), tuple(self._findings()))

    def _findings(self) -> Iterator[Finding]:
        """Findings in the order in which they are made; what makes later ones meaningless ends them."""
        policy, measured, split = self.policy, self.baseline.measured, self.baseline.split
        model = same_model(self.path, policy, self.evaluator)
        yield from model
        if any(finding.verdict == "fail" for finding in model):
            return  # numbers of another model would say nothing about this policy
        samples = same_samples(measured, self.evaluator, split)
        yield samples
        yield from drift(measured)
        yield from cost_findings(policy, measured, self.evaluator, split)
        same = samples.verdict != "fail"
        if not same and not self.demands.accept:  # else they become the baseline
            return
        stored = None
        if same:
            stored, pairing = stored_results(self.baseline.path, measured)
            yield pairing
        if self.evaluator.engine is not None:
            # The engine is asked under this policy: answers that were given under another are errors.
            yield passing("engine", f"policy {policy.content_hash()}", self.evaluator.engine, ok=True)
        try:
            self.results = self._run(policy)
        except NotFiniteError as error:
            yield passing("logits", "finite", one_line(error), ok=False)
            return
        if same:
            yield from self._accuracy_findings(self.results, stored)
        if self.demands.latency is not None:
            yield from latency_findings(policy, self.evaluator, split, self.demands.latency)

    def _accuracy_findings(self, results: Results, stored: Results | None) -> Iterator[Finding]:
        """Findings about accuracy; where it fell, also about the uncompressed model's."""
        before = None
        if stored is not None:
            before = matching(stored, results)
            if len(before) != len(results):
                found = f"{len(results) - len(before)} evaluated samples are not in it"
                yield Finding("accuracy", "the samples of the samples file", found, "fail")
                return
        findings, fallen = judge(self._comparisons(results, before), equivalence=self.demands.equivalence)
        yield from findings
        if self.demands.must_pass:
            kept = must_pass(results, before, self.demands.must_pass)
            yield kept
            fallen |= {kept.what} if kept.verdict == "fail" else set()
        if fallen:
            yield blame(self.baseline.path, self._run(UNCOMPRESSED), sorted(fallen))

    def _comparisons(self, results: Results, before: Results | None) -> list[Comparison]:
        """Accuracies to compare, in pairs where the baseline's samples are there.

        Raises:
            DataError: none can be, or a name that is asked for is not there.
        """
        measured = self.baseline.measured
        missing = [name for name in measured.accuracy if name not in results.groups("modality")]
        if missing or not measured.accuracy:
            what = f"{missing[0]} was measured, and there are no samples of it now" if missing else "none was stored"
            raise DataError(f"accuracy: {what}; the data that the policy was measured on is right")
        if before is None:
            return compare_intervals(results.accuracy(), results.counts(), measured, self.demands)
        return compare(results, before, measured, self.demands)

    def _run(self, policy: Policy) -> Results:
        measured, split = self.baseline.measured, self.baseline.split
        limit = _limit(self.demands, measured, self.evaluator, split)
        return self.evaluator.run(policy, split, limit=limit, progress=self.progress)


def _read(path: str | Path, demands: Demands) -> tuple[Policy, _Baseline]:
    """The policy and what it is compared with: its own file, or another."""
    if demands.accept and local_file(path) != Path(path):
        raise DataError(f"accept: {path} is a version in MLflow, which never changes; register a new one")
    file = local_file(path if demands.baseline is None else demands.baseline)
    policy, measured, split = load_measured(file)
    return policy if demands.baseline is None else Policy.load(path), _Baseline(file, measured, split)


def _limit(demands: Demands, measured: Measured, evaluator: Evaluator, split: Split) -> int | None:
    """Samples of each modality group to run: what is asked for, else as many as were measured."""
    held = evaluator.info(split).samples
    if demands.limit is None and any(measured.samples.get(group, 0) < count for group, count in held.items()):
        return max(measured.samples.values(), default=None)
    return demands.limit


def _write_baseline(path: str | Path, evaluator: Evaluator, results: Results) -> None:
    """Write what was measured into a policy's file, the samples files first: a policy never has another's."""
    policy, measured, split = load_measured(path)
    cost = evaluator.cost(policy, split)
    now = measured.model_copy(
        update={
            "samples": results.counts(),
            "samples_sha256": evaluator.info(split).sha256,
            "accuracy": {
                name: Interval(*(round(value, 6) for value in one)) for name, one in results.accuracy().items()
            },
            "flops_ratio": round(cost.flops_ratio, 6),
            "kv_ratio": round(cost.kv_ratio, 6),
            "tokens": {name: round(value, 4) for name, value in cost.tokens.items()},
            "versions": installed_versions(),
        }
    )
    limit = None if results.counts() == evaluator.info(split).samples else max(results.counts().values())
    evaluator.run(UNCOMPRESSED, split, limit=limit).save(uncompressed_path(path))
    results.save(samples_path(path))
    policy.model_copy(update={"measured": now}).save(path)


@contextmanager
def errors_as_junit(policy: str | Path, path: str | Path | None) -> Iterator[None]:
    """Write what ends a check before it has findings as JUnit XML too, so that CI shows an error, no regression.

    Args:
        policy: its file, for the report.
        path: of the JUnit file; None writes nothing.
    """
    try:
        yield
    except Exception as error:
        if path is not None:
            with suppress(DataError):
                write_text(path, junit_error(str(policy), one_line(error)), "--junit")
        raise
