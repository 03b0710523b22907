"""A policy as a person reads it: its stages, its model and what was measured."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotc.policy import UNCOMPRESSED, Measured, Policy, Stage
from autotc.report.tables import interval, table


@dataclass(frozen=True)
class PolicyView:
    """A policy to look at.

    Attributes:
        policy: what is shown.
    """

    policy: Policy

    def to_json(self) -> dict[str, Any]:
        """The policy's own document and its hash."""
        return {**self.policy.model_dump(mode="json", exclude_none=True), "hash": self.policy.content_hash()}

    def text(self) -> str:
        """One line for each stage, then what is known of it."""
        headers = ["modality", "location", "layer", "mechanism", "family", "keep ratio", "parameters"]
        rows = [_stage_row(stage) for stage in self.policy.stages]
        lines = [table(headers, rows) if rows else "no stages: the uncompressed model"]
        if self.policy.model is not None:
            model = self.policy.model
            lines.append(f"\nmodel         {model.architecture} {model.fingerprint or '(any size)'}")
        if self.policy.measured is not None:
            lines += _measured_lines(self.policy.measured)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


def show(policy: Policy | str | Path) -> PolicyView:
    """What a policy does and what was measured of it.

    Args:
        policy: a policy, a policy file, or ``"none"`` for the uncompressed model.

    Raises:
        PolicyError: the file is missing or is no policy.

    Example:
        >>> print(autotc.show("policies/tiny-omni-0.4.yaml"))  # doctest: +SKIP
    """
    if not isinstance(policy, Policy):
        policy = UNCOMPRESSED if str(policy) == "none" else Policy.load(policy)
    return PolicyView(policy)


def _stage_row(stage: Stage) -> list[str]:
    return [
        stage.modality,
        stage.location,
        ", ".join("-" if layer is None else str(layer) for layer, _ in stage.steps()),
        stage.mechanism,
        stage.build().family,
        ", ".join(f"{ratio:g}" for _, ratio in stage.steps()),
        " ".join(f"{key}={value}" for key, value in stage.params.items()) or "-",
    ]


def _measured_lines(measured: Measured) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in measured.samples.items())
    lines = [f"measured on   {measured.evaluator} {measured.split}, seed {measured.seed}: {counts}"]
    lines += [f"accuracy      {name} {interval(value)}" for name, value in measured.accuracy.items()]
    lines.append(f"FLOPs ratio   {measured.flops_ratio:.4f}")
    lines += [f"KV ratio      {measured.kv_ratio:.4f}"] if measured.kv_ratio is not None else []
    lines += [f"predicted     {measured.predicted_ms:g} ms"] if measured.predicted_ms is not None else []
    if measured.study is not None:
        lines.append(f"study         {measured.study}, trial {measured.trial}")
    return lines
