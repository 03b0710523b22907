"""What `autotc.export` returns: an engine's settings for a policy, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from autotc.export import Deployment, Plan
from autotc.policy import Policy
from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd


class FlopsPair(NamedTuple):
    """FLOPs ratios of a policy and of what an engine runs in its place."""

    policy: float
    deployed: float


class AccuracyPair(NamedTuple):
    """Accuracies of a policy and of what an engine runs in its place."""

    policy: Interval
    deployed: Interval


@dataclass(frozen=True)
class Export:
    """What `autotc.export` found.

    Attributes:
        plan: which stages of the policy the engine expresses.
        deployed: what runs there: the policy where all is expressed, else the nearest that is.
        deployment: the engine's settings for it.
        flops: modality that the policy touches -> FLOPs ratios; None unless estimated.
        accuracy: modality group -> accuracies; None unless measured.
        difference: modality group -> paired change in accuracy; None unless measured.
    """

    plan: Plan
    deployed: Policy
    deployment: Deployment
    flops: Mapping[str, FlopsPair] | None
    accuracy: Mapping[str, AccuracyPair] | None
    difference: Mapping[str, Interval] | None

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        engine, plan = self.plan.engine, self.plan
        return {
            "engine": engine.name,
            "version": engine.version,
            "expressible": plan.expressible,
            "refused": [{"stage": refusal.stage.label(), "reason": refusal.reason} for refusal in plan.refused],
            "nearest": self.deployed.label() if plan.refused else None,
            "command": list(self.deployment.command),
            "python": self.deployment.python,
            "config": dict(self.deployment.config),
            "environment": dict(self.deployment.environment),
            "deployed": self.deployed.model_dump(mode="json", exclude_none=True),
            "notes": list(plan.notes),
            "flops_ratio": _both(self.flops),
            "accuracy": _both(self.accuracy),
            "difference": None if self.difference is None else {k: list(v) for k, v in self.difference.items()},
        }

    def to_pandas(self) -> pd.DataFrame:
        """One line for each modality that the policy touches: FLOPs ratio and accuracy, as far as they are known.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame(self._rows())

    def _repr_html_(self) -> str:
        engine = self.plan.engine
        return html_table(self._rows(), f"{engine.title}: {self.deployed.label()}")

    def _rows(self) -> list[dict[str, object]]:
        flops, accuracy = self.flops or {}, self.accuracy or {}
        return [
            {
                "modality": name,
                "flops_ratio": flops[name].policy if name in flops else None,
                "flops_ratio_deployed": flops[name].deployed if name in flops else None,
                "accuracy": accuracy[name].policy.mean if name in accuracy else None,
                "accuracy_deployed": accuracy[name].deployed.mean if name in accuracy else None,
            }
            for name in dict.fromkeys([*flops, *accuracy])
        ]


def _both(pairs: Mapping[str, FlopsPair] | Mapping[str, AccuracyPair] | None) -> dict[str, dict[str, Any]] | None:
    return None if pairs is None else {name: pair._asdict() for name, pair in pairs.items()}
