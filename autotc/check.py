"""The regression gate: does a policy still keep the accuracy and the cost that were measured when it was written?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args
from xml.etree import ElementTree

from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import Evaluator
from autotc.policy import Measured, Policy
from autotc.progress import Progress
from autotc.results import Results
from autotc.statistics import Interval
from autotc.vocabulary import Split

Verdict = Literal["pass", "warn", "fail"]
FLOPS_SLACK = 0.005
"""How far the FLOPs ratio may rise: what rounding of counts can move it between versions."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        expected: what the policy file says.
        found: what was measured now.
        verdict: ``pass``; ``fail``; ``warn`` where it weakens the check but is no regression.
    """

    what: str
    expected: str
    found: str
    verdict: Verdict


@dataclass(frozen=True)
class CheckReport:
    """The findings of one check."""

    policy: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.verdict != "fail" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """``passed`` and ``findings``, as ``--json`` prints them."""
        return {"policy": self.policy, "passed": self.passed, "findings": [vars(f).copy() for f in self.findings]}

    def to_junit(self) -> str:
        """JUnit XML: one test case per finding, for CI systems that show such reports."""
        failures = sum(finding.verdict == "fail" for finding in self.findings)
        suite = ElementTree.Element(
            "testsuite", name="autotc check", tests=str(len(self.findings)), failures=str(failures), errors="0"
        )
        for finding in self.findings:
            case = ElementTree.SubElement(suite, "testcase", classname=self.policy, name=finding.what)
            text = f"expected {finding.expected}, found {finding.found}"
            if finding.verdict == "fail":
                ElementTree.SubElement(case, "failure", message=text)
            else:
                ElementTree.SubElement(case, "system-out").text = text
        root = ElementTree.Element("testsuites")
        root.append(suite)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


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
    evaluator: Evaluator,
    policy_path: str | Path,
    *,
    tolerance: float | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Evaluate a policy again and compare with what its file says, paired by sample where the samples file is there.

    Accuracy fails where it fell by more than the tolerance with 95% confidence: the interval of the difference lies
    below -tolerance. A fall within the interval's noise does not fail.

    Args:
        evaluator: on the data and the model that the policy was measured on.
        policy_path: the policy file; ``x.samples.parquet`` beside it makes the comparison paired.
        tolerance: largest fall in accuracy that passes, in [0, 1]; None takes the file's.
        limit: samples per modality group; None takes as many as were measured.
        progress: called with samples done and samples in all.

    Raises:
        PolicyError: the file is wrong, holds no measurement, or is for another architecture.
        DataError: the samples file cannot be read.
    """
    policy, measured, split = load_measured(policy_path)
    allowed = measured.tolerance if tolerance is None else tolerance
    if not 0 <= allowed <= 1:
        raise PolicyError(f"tolerance: {allowed!r} given; a fall in accuracy in [0, 1] is right")
    findings: list[Finding] = []
    if policy.model is not None:
        if policy.model.architecture != evaluator.model.architecture:
            raise PolicyError(
                f"{policy_path}: model.architecture: is for {policy.model.architecture}, the model is "
                f"{evaluator.model.architecture}; give the model it was made for"
            )
        if policy.model.fingerprint is not None:
            same = policy.model.fingerprint == evaluator.model.fingerprint
            findings.append(
                _finding("fingerprint", policy.model.fingerprint, evaluator.model.fingerprint or "none", ok=same)
            )
            if not same:
                # Numbers of another model would say nothing about this policy.
                return CheckReport(str(policy_path), tuple(findings))
    info = evaluator.info(split)
    same_data = info.sha256 == measured.samples_sha256 and evaluator.name == measured.evaluator
    findings.append(
        _finding(
            "samples",
            f"{measured.evaluator} {split} {measured.samples_sha256[:12]}",
            f"{evaluator.name} {split} {info.sha256[:12]}",
            ok=same_data,
        )
    )
    cost = evaluator.cost(policy, split)
    for name, before, now in (
        ("flops_ratio", measured.flops_ratio, cost.flops_ratio),
        ("kv_ratio", measured.kv_ratio, cost.kv_ratio),
    ):
        if before is not None:
            findings.append(_finding(name, f"{before:.4f}", f"{now:.4f}", ok=now <= before + FLOPS_SLACK))
    if not same_data:
        return CheckReport(str(policy_path), tuple(findings))
    if limit is None and any(measured.samples.get(group, 0) < count for group, count in info.samples.items()):
        limit = max(measured.samples.values(), default=None)
    stored, pairing = _stored(policy_path, measured)
    findings.append(pairing)
    results = evaluator.run(policy, split, limit=limit, progress=progress)
    findings += _accuracy(results, stored, measured.accuracy, allowed)
    return CheckReport(str(policy_path), tuple(findings))


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
        if abs(means.get(name, math.inf) - mean) > 1e-3:
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
        difference = {name: _unpaired(now[name], expected[name]) for name in now if name in expected}
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


def _unpaired(now: Interval, before: Interval) -> Interval:
    """Difference of two independent means with its 95% interval, from their intervals (Zou and Donner's MOVER)."""
    mean = now.mean - before.mean
    low = mean - math.hypot(now.mean - now.low, before.high - before.mean)
    high = mean + math.hypot(now.high - now.mean, before.mean - before.low)
    return Interval(mean, low, high)
