"""What a policy is compared with: what its file, or another, says was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from autotc.errors import PolicyError
from autotc.evaluate.base import Evaluator
from autotc.policy import Measured, Policy
from autotc.records.check import Finding, passing
from autotc.results import Results
from autotc.versions import installed_versions
from autotc.vocabulary import Split


def samples_path(policy_path: str | Path) -> Path:
    """Where the per-sample results of a policy file stand: ``x.yaml`` -> ``x.samples.parquet``."""
    return Path(policy_path).with_suffix(".samples.parquet")


def uncompressed_path(policy_path: str | Path) -> Path:
    """Where the uncompressed model's results on the same samples stand: ``x.uncompressed.samples.parquet``."""
    return Path(policy_path).with_suffix(".uncompressed.samples.parquet")


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


def same_model(path: str | Path, policy: Policy, evaluator: Evaluator) -> list[Finding]:
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
    return [passing("fingerprint", wanted.fingerprint, given.fingerprint or "none", ok=same)]


def same_samples(measured: Measured, evaluator: Evaluator, split: Split) -> Finding:
    """Whether the samples are those that the baseline was measured on."""
    sha256 = evaluator.info(split).sha256
    return passing(
        "samples",
        f"{measured.evaluator} {split} {measured.samples_sha256[:12]}",
        f"{evaluator.name} {split} {sha256[:12]}",
        ok=sha256 == measured.samples_sha256 and evaluator.name == measured.evaluator,
    )


def drift(measured: Measured) -> list[Finding]:
    """Versions that are others than when the baseline was measured; nothing where it does not say."""
    now = installed_versions()
    moved = {name: was for name, was in measured.versions.items() if now.get(name) != was}
    if not measured.versions:
        return []
    if not moved:
        return [passing("versions", "as measured", "the same", ok=True)]
    found = ", ".join(f"{name} {now.get(name, 'not installed')}" for name in moved)
    return [Finding("versions", ", ".join(f"{name} {was}" for name, was in moved.items()), found, "warn")]


def stored_results(policy_path: str | Path, measured: Measured) -> tuple[Results | None, Finding]:
    """Stored per-sample results, where they are there and are the policy's; and what is to be said about them.

    Raises:
        DataError: the samples file cannot be read.
    """
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


def matching(stored: Results, results: Results) -> Results:
    """Of stored results those whose samples were evaluated now."""
    ids = {sample.id for sample in results.samples}
    return Results(tuple(sample for sample in stored.samples if sample.id in ids))


def blame(policy_path: str | Path, uncompressed: Results, failed: Sequence[str]) -> Finding:
    """Whether the uncompressed model changed too, where a policy's accuracy fell.

    Args:
        policy_path: of the baseline, beside whose file the uncompressed model's results stand.
        uncompressed: its results now, on the samples of the check.
        failed: names of the findings that failed.
    """
    path = uncompressed_path(policy_path)
    now = ", ".join(f"{name} {values.mean():.4f}" for name, values in uncompressed.groups("modality").items())
    if not path.exists():
        found = f"{now} now; {path.name} is not there, so that it is not known whether that is less than it was"
        return Finding("uncompressed", "run again, since accuracy fell", found, "warn")
    before = matching(Results.load(path), uncompressed)
    if len(before) != len(uncompressed):
        found = f"{now} now; {len(uncompressed) - len(before)} samples are not in {path.name}"
        return Finding("uncompressed", "run again, since accuracy fell", found, "warn")
    moved = uncompressed.difference(before)
    fell = [name for name, change in moved.items() if change.high < 0]
    shown = ", ".join(f"{name} {change.mean:+.4f}" for name, change in moved.items())
    if fell:
        cause = f"it fell too ({', '.join(fell)}): the model, the data or the software changed, not the policy alone"
    else:
        cause = f"it is not shown to have fallen: the policy is to blame for {', '.join(failed)}"
    return Finding("uncompressed", "run again, since accuracy fell", f"{shown}; {cause}", "warn")
