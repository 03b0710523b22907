"""What an evaluation measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotc.policy import Policy
from autotc.results import Results, SplitCost
from autotc.statistics import Interval
from autotc.tabular import frame, html_table
from autotc.vocabulary import Split


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and cost of a policy on a split.

    Attributes:
        name: of the policy as it was given: its file, ``none``, or its label.
        policy: that ran.
        split: of the samples.
        results: of each sample.
        cost: analytic, of all samples of the split.
        chance: task -> accuracy of always giving its commonest answer.
        untouched: task -> modality group, of tasks that the user chose whose samples the policy leaves as they are;
            None where there are no tasks to choose.
        phases: where the evaluator's time went, in seconds; None where it does not keep count.
    """

    name: str
    policy: Policy
    split: Split
    results: Results
    cost: SplitCost
    chance: Mapping[str, float]
    untouched: Mapping[str, str] | None = None
    phases: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def accuracy(self) -> dict[str, Interval]:
        """Mean and 95% interval of each modality group."""
        return self.results.accuracy()

    @property
    def tasks(self) -> dict[str, Interval]:
        """Mean and 95% interval of each task."""
        return self.results.accuracy("task")

    def to_json(self) -> dict[str, Any]:
        """The document of ``autotc eval --json``."""
        document: dict[str, Any] = {
            "policy": self.name,
            "split": self.split,
            "accuracy": _rounded(self.accuracy),
            "tasks": _rounded(self.tasks),
            "chance": dict(self.chance),
            "flops_ratio": self.cost.flops_ratio,
            "flops_spread": self.cost.flops_spread,
            "flops": self.cost.flops,
            "tokens": self.cost.tokens,
            "samples": self.results.counts(),
        }
        if self.phases is not None:
            document["phases"] = dict(self.phases)
        if self.untouched is not None:
            document["untouched"] = sorted(self.untouched)
        return document

    def to_pandas(self) -> Any:
        """A data frame with a row for each modality group and each task."""
        return frame(self._rows())

    def _rows(self) -> list[dict[str, object]]:
        samples = self.results.counts()
        groups = [
            {"name": name, "of": "modality", **value._asdict(), "chance": None, "samples": samples[name]}
            for name, value in self.accuracy.items()
        ]
        tasks = [
            {"name": name, "of": "task", **value._asdict(), "chance": self.chance.get(name), "samples": len(values)}
            for (name, value), values in zip(self.tasks.items(), self.results.groups("task").values(), strict=True)
        ]
        return [*groups, *tasks]

    def _repr_html_(self) -> str:
        title = f"{self.policy.label()}, {self.split} split, FLOPs ratio {self.cost.flops_ratio:.4f}"
        return html_table(self._rows(), title)


def _rounded(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [round(float(x), 6) for x in value] for name, value in intervals.items()}
