"""What a search returns: the front, the exported policy, and how much was run to find them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotc.errors import MissingDependencyError
from autotc.report.figures import Shown, notebook_png
from autotc.report.tables import interval
from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd

RivalKind = Literal["preset", "control"]


@dataclass(frozen=True)
class FrontRow:
    """A policy of the front.

    Attributes:
        policy: path of its YAML file; empty while the search runs.
        label: its stages in words.
        accuracy: mean over modality groups, on ``split``.
        accuracy_by: modality group -> (mean, low, high).
        flops_ratio: on ``split``.
        trial: number of the trial.
        tokens: modality -> mean tokens of an item at the language model's last layer.
        split: what the numbers are of.
        difference: paired change against the uncompressed model, by modality group and ``overall``; on the test split.
        chosen: whether it is the policy the search exports.
        kv_ratio: bytes of keys and values relative to uncompressed, on ``split``; None while the search runs.
        predicted_ms: mean predicted prefill of a sample; None without a latency model.
        accuracy_search: on the search split, where it was chosen; what is lost from there to ``split`` is its optimism.
    """

    policy: str
    label: str
    accuracy: float
    accuracy_by: Mapping[str, Interval]
    flops_ratio: float
    trial: int
    tokens: Mapping[str, float]
    split: str = "search"
    difference: Mapping[str, Interval] = field(default_factory=dict)
    chosen: bool = False
    kv_ratio: float | None = None
    predicted_ms: float | None = None
    accuracy_search: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        by = {key: list(value) for key, value in self.accuracy_by.items()}
        difference = {key: list(value) for key, value in self.difference.items()}
        return {**vars(self), "accuracy_by": by, "tokens": dict(self.tokens), "difference": difference}

    def shown(self) -> dict[str, object]:
        """As one row of the table that a notebook shows."""
        return {
            "trial": self.trial,
            "FLOPs ratio": f"{self.flops_ratio:.3f}",
            "accuracy": f"{self.accuracy:.3f}",
            **{key: interval(value) for key, value in self.accuracy_by.items()},
            "tokens": ", ".join(f"{key} {value:.0f}" for key, value in self.tokens.items()),
            "policy": self.label,
            "exported": "yes" if self.chosen else "",
        }

    def flat(self) -> dict[str, Any]:
        """As one flat row of a table: a column for each modality group's accuracy, its bounds, and tokens."""
        out: dict[str, Any] = {
            "trial": self.trial,
            "policy": self.label,
            "chosen": self.chosen,
            "accuracy": self.accuracy,
            "flops_ratio": self.flops_ratio,
        }
        for key, (mean, low, high) in self.accuracy_by.items():
            out[f"accuracy/{key}"] = mean
            out[f"accuracy/{key}/low"], out[f"accuracy/{key}/high"] = low, high
        out.update({f"tokens/{key}": value for key, value in self.tokens.items()})
        return out


@dataclass(frozen=True)
class Rival:
    """What a user would have had without a search: the best preset, or control, of each modality within the budget.

    Attributes:
        kind: ``preset`` or ``control``.
        names: modality -> its preset or control.
        label: its stages in words.
        accuracy: mean over modality groups, on the test split.
        flops_ratio: on the test split.
        difference: paired change in accuracy, exported policy minus rival, by modality group and ``overall``.
        same: whether it is the exported policy.
    """

    kind: RivalKind
    names: Mapping[str, str]
    label: str
    accuracy: float
    flops_ratio: float
    difference: Mapping[str, Interval]
    same: bool


@dataclass(frozen=True)
class Neighbour:
    """The next point of the front, beside the exported policy.

    Attributes:
        side: ``cheaper`` or ``dearer``.
        trial: its number.
        flops_ratio: on the test split.
        difference: paired change in accuracy overall, this point minus the exported policy, on the test split.
    """

    side: Literal["cheaper", "dearer"]
    trial: int
    flops_ratio: float
    difference: Interval


@dataclass(frozen=True)
class Worth:
    """How an exported policy stands against what was to be had without a search.

    Attributes:
        rivals: the best preset and the best control that meet the budget; what could not be run is left out.
        neighbours: the front's next cheaper and next dearer point, where there is one.
    """

    rivals: tuple[Rival, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As ``--json`` prints it; intervals are lists."""
        rivals = [
            {**asdict(rival), "difference": {key: list(value) for key, value in rival.difference.items()}}
            for rival in self.rivals
        ]
        neighbours = [{**asdict(point), "difference": list(point.difference)} for point in self.neighbours]
        return {"rivals": rivals, "neighbours": neighbours}


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        policy: path of the exported policy; its samples file stands beside it.
        front: the front, cheapest first, measured once on the test split; thinned where it is long.
        uncompressed: modality group -> accuracy of the uncompressed model on the test split.
        floors: ``modality/location`` -> lowest FLOPs ratio of that modality's samples.
        trials: distinct feasible policies evaluated.
        refused: rule (or ``over_budget``) -> policies refused before they ran.
        failed: trials whose mechanism raised.
        seconds: wall time of this call.
        hypervolume: of the front on the search split, reference point chance accuracy and FLOPs ratio 1.
        study: name to resume or show.
        storage: URL of the Optuna storage.
        mlflow_uri: URI of the tracking store, or None.
        figures: paths of the front figures.
        exhausted: whether the space ran out of new feasible policies.
        raced: policies given up on part of the samples.
        forwards: samples of the search split that were run, each under one policy; ``saved``: that races and shared
            parts spared, against running every policy that ran or was given up on the whole split; ``watched``: run
            to predict conflicts, which is not among them.
        audited: of the stacks refused since they were predicted to conflict, ``run`` all the same, and of these
            ``right``: no better than what is known at no more than their cost.
        worth: the exported policy beside the best preset and control within the budget, and the front's next points.
    """

    policy: Path
    front: tuple[FrontRow, ...]
    uncompressed: Mapping[str, Interval]
    floors: Mapping[str, float]
    trials: int
    refused: Mapping[str, int]
    failed: int
    seconds: float
    hypervolume: float
    study: str
    storage: str
    mlflow_uri: str | None
    figures: tuple[Path, ...] = ()
    exhausted: bool = False
    raced: int = 0
    forwards: int = 0
    saved: int = 0
    watched: int = 0
    audited: Mapping[str, int] = field(default_factory=dict)
    worth: Worth = Worth()

    def to_json(self) -> dict[str, Any]:
        """One document for ``--json``."""
        return {
            **vars(self),
            "policy": str(self.policy),
            "front": [row.to_json() for row in self.front],
            "uncompressed": {key: list(value) for key, value in self.uncompressed.items()},
            "floors": dict(self.floors),
            "refused": dict(self.refused),
            "figures": [str(path) for path in self.figures],
            "audited": dict(self.audited),
            "worth": self.worth.to_json(),
        }

    def to_pandas(self) -> pd.DataFrame:
        """The front as a table, a row for each policy, cheapest first."""
        return frame([row.flat() for row in self.front])

    def _repr_html_(self) -> str:
        """The front as a notebook shows it: a figure, where matplotlib is installed, and a table."""
        caption = f"{self.study}: {self.trials} policies; exported {self.policy}"
        return self._figure() + html_table([row.shown() for row in self.front], caption)

    def _figure(self) -> str:
        """The front as an inline picture; empty where it cannot be drawn."""
        shown = [Shown(row.accuracy, row.flops_ratio, row.trial, row.chosen) for row in self.front]
        uncompressed = sum(value.mean for value in self.uncompressed.values()) / max(1, len(self.uncompressed))
        try:
            picture = notebook_png(self.study, shown, uncompressed, self.front[0].split if self.front else "test")
        except MissingDependencyError:
            return ""
        words = f"accuracy over FLOPs of the front of {self.study}"
        data = base64.b64encode(picture).decode()
        return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
