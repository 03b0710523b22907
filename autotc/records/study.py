"""What is kept of studies: a front, a list, a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FrontPoint:
    """A policy of a study's front.

    Attributes:
        policy: file that the search wrote of it, if it did.
        label: its stages in one line.
        accuracy: mean over modality groups, on the split.
        accuracy_by: modality group -> accuracy.
        flops_ratio: on the split.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        trial: its number.
        split: that it was measured on.
    """

    policy: str | None
    label: str
    accuracy: float
    accuracy_by: Mapping[str, float]
    flops_ratio: float
    tokens: Mapping[str, float]
    trial: int
    split: str = "search"

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        return asdict(self)


@dataclass(frozen=True)
class StudyFront:
    """The front of a study, cheapest policy first.

    Attributes:
        study: its name.
        points: policies that no other beats in accuracy and FLOPs ratio.
    """

    study: str
    points: tuple[FrontPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return {"study": self.study, "front": [point.to_json() for point in self.points]}

    def to_pandas(self) -> pd.DataFrame:
        """One line for each policy, a column for each modality's accuracy and tokens.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame(self._rows(), columns=("trial", "accuracy", "flops_ratio", "label") if not self.points else ())

    def _repr_html_(self) -> str:
        return html_table(self._rows(), f"{self.study}: front on the search split")

    def _rows(self) -> list[dict[str, object]]:
        return [
            {
                "trial": point.trial,
                "accuracy": point.accuracy,
                "flops_ratio": point.flops_ratio,
                **{f"accuracy_{name}": value for name, value in point.accuracy_by.items()},
                **{f"tokens_{name}": value for name, value in point.tokens.items()},
                "label": point.label,
                "policy": point.policy,
            }
            for point in self.points
        ]


@dataclass(frozen=True)
class StudySummary:
    """A study in a line.

    Attributes:
        study: its name.
        front: policies on its front.
        accuracy: of the most accurate of them, on the search split; None where the front is empty.
        flops_ratio: of that policy.
    """

    study: str
    front: int
    accuracy: float | None
    flops_ratio: float | None

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        return asdict(self)


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker has.

    Attributes:
        trial: its number.
        worker: who has it.
        since: when it began, by the clock of the storage.
        beats: how often the worker has said that it is there.
        alive: False where the worker is certainly gone.
    """

    trial: int
    worker: str
    since: str | None
    beats: int
    alive: bool


@dataclass(frozen=True)
class StudyState:
    """How far a study is.

    Attributes:
        study: its name.
        storage: where its trials are, without a password; ``folder``: of what is kept beside them.
        sampler, seed, budget: that it was made with.
        asked, done: distinct feasible policies that were asked for, and that have run.
        kinds: what became of trials -> how many.
        forwards: samples of the search split that were run.
        front: policies on its front.
        running: trials that workers have now.
        policy: file that it exported; None before its end.
        mlflow_run: id of its parent run; None where nothing was logged.
    """

    study: str
    storage: str
    folder: str
    sampler: str
    seed: int
    budget: float
    asked: int
    done: int
    kinds: Mapping[str, int]
    forwards: int
    front: int
    running: tuple[RunningTrial, ...]
    policy: str | None
    mlflow_run: str | None

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a study.

    Attributes:
        where: trial, file or package.
        what: is wrong there.
        remedy: what to do.
    """

    where: str
    what: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        return asdict(self)


@dataclass(frozen=True)
class StudyReport:
    """The report of a study.

    Attributes:
        study: its name.
        file: that was written.
    """

    study: str
    file: Path

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return {"study": self.study, "file": str(self.file)}
