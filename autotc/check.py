"""The regression gate: does a policy still keep the accuracy and the cost that were measured when it was written?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast, get_args

from autotc.errors import DataError, NotFiniteError, PolicyError, one_line
from autotc.evaluate.base import Evaluator
from autotc.evaluate.embedded import embedded_evaluator
from autotc.files import write_text
from autotc.policy import Measured, Policy
from autotc.progress import Progress
from autotc.ranges import check_count
from autotc.records.check import CheckReport, Finding, junit_error
from autotc.results import Results
from autotc.statistics import Interval, difference_of_intervals
from autotc.vocabulary import Split

FLOPS_SLACK = 0.005
"""How far the FLOPs ratio may rise: what rounding of counts can move it between versions."""


def samples_path(policy_path: str | Path) -> Path:
    """Where the per-sample results of a policy file stand: ``x.yaml`` -> ``x.samples.parquet``."""
    return Path(policy_path).with_suffix(".samples.parquet")


def load_measured(policy_path: str | Path) -> tuple[Policy, Measured, Split]:
    """A policy file that a check can be run on.

    Raises:
        PolicyError: the file is wrong or holds no measurement.
    """
    policy = Policy.load(policy_path)
    if policy.measured is None:
        raise PolicyError(f"{policy_path}: measured: missing; check compares with what a search wrote there")
    if policy.measured.split not in get_args(Split):
        raise PolicyError(
            f"{policy_path}: measured.split: {policy.measured.split!r} given; known: {', '.join(get_args(Split))}"
        )
    return policy, policy.measured, cast(Split, policy.measured.split)


def check(
    policy: str | Path,
    evaluator: Evaluator | None = None,
    *,
    tolerance: float | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Evaluate a policy again and compare with what its file says, paired by sample where the samples file is there.

    Accuracy fails where it fell by more than the tolerance with 95% confidence: the interval of the difference lies
    below -tolerance. A fall within the interval's noise does not fail.

    Args:
        policy: its file; ``x.samples.parquet`` beside it makes the comparison paired.
        evaluator: on the data and the model that the policy was measured on; None takes the embedded model and its
            benchmark.
        tolerance: largest fall in accuracy that passes, in [0, 1]; None takes the file's.
        limit: samples per modality group; None takes as many as were measured.
        progress: called with samples done and samples in all.

    Raises:
        PolicyError: the file is wrong, holds no measurement, or is for another architecture.
        DataError: the samples file cannot be read, or the model's logits are not finite without the policy either.

    Example:
        >>> report = autotc.check("policies/tiny-omni-0.5.yaml", limit=50)  # doctest: +SKIP
        >>> report.passed  # doctest: +SKIP
    """
    checked, measured, split = load_measured(policy)
    allowed = measured.tolerance if tolerance is None else tolerance
    if not 0 <= allowed <= 1:
        raise PolicyError(f"tolerance: {allowed!r} given; a fall in accuracy in [0, 1] is right")
    if limit is not None:
        check_count(limit, "limit")
    evaluator = embedded_evaluator(seed=measured.seed) if evaluator is None else evaluator
    findings = _same_model(policy, checked, evaluator)
    if any(finding.verdict == "fail" for finding in findings):
        # Numbers of another model would say nothing about this policy.
        return CheckReport(str(policy), tuple(findings))
    info = evaluator.info(split)
    samples = _same_samples(measured, evaluator, split)
    findings += [samples, *_costs(checked, measured, evaluator, split)]
    if samples.verdict == "fail":
        return CheckReport(str(policy), tuple(findings))
    if limit is None and any(measured.samples.get(group, 0) < count for group, count in info.samples.items()):
        limit = max(measured.samples.values(), default=None)
    stored, pairing = _stored(policy, measured)
    findings.append(pairing)
    if evaluator.engine is not None:
        # The engine is asked under this policy: answers that were given under another are errors.
        findings.append(_finding("engine", f"policy {checked.content_hash()}", evaluator.engine, ok=True))
    try:
        results = evaluator.run(checked, split, limit=limit, progress=progress)
    except NotFiniteError as error:
        findings.append(_finding("logits", "finite", one_line(error), ok=False))
    else:
        findings += _accuracy(results, stored, measured.accuracy, allowed)
    return CheckReport(str(policy), tuple(findings))


def _same_model(path: str | Path, policy: Policy, evaluator: Evaluator) -> list[Finding]:
    """Whether the model is the one that the policy is for.

    Raises:
        PolicyError: it is of another architecture.
    """
    wanted, given = policy.model, evaluator.model
    if wanted is None:
        return []
    if wanted.architecture != given.architecture:
        raise PolicyError(
            f"{path}: model.architecture: is for {wanted.architecture}, the model is {given.architecture}; give the"
            " model it was made for"
        )
    if wanted.fingerprint is None:
        return []
    same = wanted.fingerprint == given.fingerprint
    return [_finding("fingerprint", wanted.fingerprint, given.fingerprint or "none", ok=same)]


def _same_samples(measured: Measured, evaluator: Evaluator, split: Split) -> Finding:
    """Whether the samples are those that the policy was measured on."""
    sha256 = evaluator.info(split).sha256
    return _finding(
        "samples",
        f"{measured.evaluator} {split} {measured.samples_sha256[:12]}",
        f"{evaluator.name} {split} {sha256[:12]}",
        ok=sha256 == measured.samples_sha256 and evaluator.name == measured.evaluator,
    )


def _costs(policy: Policy, measured: Measured, evaluator: Evaluator, split: Split) -> list[Finding]:
    """Whether the policy costs no more than it did."""
    cost = evaluator.cost(policy, split)
    ratios = (
        ("flops_ratio", measured.flops_ratio, cost.flops_ratio),
        ("kv_ratio", measured.kv_ratio, cost.kv_ratio),
    )
    return [
        _finding(name, f"{before:.4f}", f"{now:.4f}", ok=now <= before + FLOPS_SLACK)
        for name, before, now in ratios
        if before is not None
    ]


def _finding(what: str, expected: str, found: str, *, ok: bool) -> Finding:
    return Finding(what, expected, found, "pass" if ok else "fail")


def _stored(policy_path: str | Path, measured: Measured) -> tuple[Results | None, Finding]:
    """Stored per-sample results, where they are there and are the policy's; and what is to be said about them."""
    path = samples_path(policy_path)
    if not path.exists():
        found = "no such file: not paired, compared with the stored interval, which sees only larger falls"
        return None, Finding("pairing", path.name, found, "warn")
    stored = Results.load(path)
    means = {name: float(values.mean()) for name, values in stored.groups("modality").items()}
    for name, (mean, _, _) in measured.accuracy.items():
        if not abs(means.get(name, math.inf) - mean) <= 1e-3:  # written so that NaN is told too
            shown = f"{means[name]:.4f}" if name in means else "none"
            found = f"{name} accuracy {shown}: the samples file is not this policy's"
            return None, Finding("pairing", f"{name} accuracy {mean:.4f}", found, "fail")
    return stored, Finding("pairing", path.name, f"{len(stored)} samples", "pass")


def _accuracy(
    results: Results, stored: Results | None, expected: Mapping[str, Interval], tolerance: float
) -> list[Finding]:
    """One finding per modality group."""
    now = results.accuracy()
    if stored is not None:
        ids = {sample.id for sample in results.samples}
        before = Results(tuple(sample for sample in stored.samples if sample.id in ids))
        if len(before) != len(results):
            found = f"{len(results) - len(before)} evaluated samples are not in it"
            return [Finding("accuracy", "the samples of the samples file", found, "fail")]
        difference = results.difference(before)
        expected = before.accuracy()
    else:
        difference = {name: difference_of_intervals(now[name], expected[name]) for name in now if name in expected}
    out = []
    for name in expected:
        if name not in now:
            out.append(Finding(f"accuracy {name}", f"{expected[name].mean:.4f}", "no samples", "fail"))
            continue
        mean, low, high = difference[name]
        found = f"{now[name].mean:.4f} ({mean:+.4f}, 95% {low:+.4f} to {high:+.4f})"
        wanted = f"{expected[name].mean:.4f}, may fall by {tolerance:g}"
        out.append(_finding(f"accuracy {name}", wanted, found, ok=high >= -tolerance))
    if not out:
        raise DataError("no accuracy was stored and none was measured; at least one sample is needed")
    return out


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


def write_junit(report: CheckReport, path: str | Path) -> Path:
    """Write a report as JUnit XML, whole or not at all; returns the file's path.

    Raises:
        DataError: it cannot be written.
    """
    return write_text(path, report.to_junit(), "--junit")
