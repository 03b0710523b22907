"""Whether a policy costs no more than it did."""

from __future__ import annotations

from collections.abc import Iterator

from autotc.errors import DataError
from autotc.evaluate.base import Evaluator
from autotc.policy import Measured, Policy
from autotc.records.check import Finding, passing
from autotc.vocabulary import Split

SLACK = 0.005
"""How far a ratio may rise: what rounding of counts can move it between versions."""
TIMED = 8
"""Samples of the batch that is timed."""
PAIRS = 7
"""Pairs of prefills, with and without the policy: the median of six or more has a 95% interval."""


def cost_findings(policy: Policy, measured: Measured, evaluator: Evaluator, split: Split) -> list[Finding]:
    """FLOPs, bytes of keys and values, and tokens beside what was measured."""
    cost = evaluator.cost(policy, split)
    ratios = (("flops_ratio", measured.flops_ratio, cost.flops_ratio), ("kv_ratio", measured.kv_ratio, cost.kv_ratio))
    out = [
        passing(name, f"{before:.4f}", f"{now:.4f}", ok=now <= before + SLACK)
        for name, before, now in ratios
        if before is not None
    ]
    for modality, before in measured.tokens.items():
        tokens = cost.tokens.get(modality)
        shown = "none" if tokens is None else f"{tokens:.2f}"
        # A token more than was measured is the least that a count can rise by.
        ok = tokens is not None and tokens <= before + max(1.0, before * SLACK)
        out.append(passing(f"tokens {modality}", f"{before:.2f} an item", shown, ok=ok))
    return out


def latency_findings(policy: Policy, evaluator: Evaluator, split: Split, largest: float) -> Iterator[Finding]:
    """Prefill time of each modality group beside the uncompressed model's, in pairs within this run.

    Fails where the whole 95% interval of the ratio lies above ``largest``.

    Raises:
        DataError: the evaluator's model does not run in this process.
    """
    observable = evaluator.observable()
    if observable is None:
        raise DataError("latency: is measured on a model that runs in this process; autotc bench asks engines")
    for group in evaluator.info(split).samples:
        if policy.stages and not any(policy.modality(part) for part in group.split("+")):
            continue
        ratio = observable.time_prefill(policy, split, group, samples=TIMED, repeats=PAIRS).ratio
        found = f"{ratio.mean:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] in {PAIRS} pairs"
        yield passing(f"latency {group}", f"at most {largest:g} of uncompressed", found, ok=ratio.low <= largest)
