"""What `autotc.compare` measures: presets, or one mechanism at every place, on the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd

Match = Literal["tokens", "cost", "keep"]
"""What is made equal: tokens in the language model, FLOPs, or the keep ratio."""


@dataclass(frozen=True)
class ComparisonRow:
    """One preset on one modality at one target.

    Attributes:
        preset: its name; where locations are compared, the mechanism.
        place: where it stands, e.g. ``projector`` or ``decoder[2]``.
        match, target: what was made equal, and at which value.
        modality: whose samples.
        keep: keep ratio after its last part.
        met: whether the target was met within 0.01.
        flops_ratio, lm_tokens: of the modality's samples, against uncompressed; tokens are means over LM layers.
        kv_bytes: mean of a sample.
        accuracy: mean and 95% interval.
        against_uncompressed, against_random: paired difference in accuracy with its 95% interval.
        tasks: task -> the same three.
        prefill_ms: of a sample, in a small batch.
        prefill_ratio: to uncompressed, timed in turn.
        scoring_share: of its FLOPs, spent on scores and mechanisms.
        scoring_time_share: of its prefill time.
        policy: content hash.
    """

    preset: str
    place: str
    match: Match
    target: float
    modality: str
    keep: float
    met: bool
    flops_ratio: float
    lm_tokens: float
    kv_bytes: float
    accuracy: Interval
    against_uncompressed: Interval
    against_random: Interval | None
    tasks: Mapping[str, Mapping[str, Interval | None]]
    prefill_ms: float
    prefill_ratio: float
    scoring_share: float
    scoring_time_share: float
    policy: str

    def flat(self) -> dict[str, object]:
        """A row of the CSV: intervals as three columns each, tasks as one."""
        out: dict[str, object] = {}
        for key, value in asdict(self).items():
            if key == "tasks":
                out.update({f"task:{task}": scores["accuracy"].mean for task, scores in value.items()})
            elif key in ("accuracy", "against_uncompressed", "against_random"):
                mean, low, high = value or ("", "", "")
                out.update({key: mean, f"{key}_low": low, f"{key}_high": high})
            else:
                out[key] = value
        return out


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why."""

    preset: str
    modality: str
    target: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """What `autotc.compare` found.

    Attributes:
        folder: where everything was written.
        split: whose samples were run.
        rows: one per preset, target and modality.
        uncompressed: modality -> accuracy.
        skipped: what was not measured.
        files: tables and figures.
    """

    folder: Path
    split: str
    rows: tuple[ComparisonRow, ...]
    uncompressed: Mapping[str, Interval]
    skipped: tuple[Skipped, ...]
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "uncompressed": dict(self.uncompressed),
            "skipped": [asdict(skipped) for skipped in self.skipped],
            "files": [str(path) for path in self.files],
        }

    def to_pandas(self) -> pd.DataFrame:
        """One line for each row, as in the CSV file.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame([row.flat() for row in self.rows])

    def _repr_html_(self) -> str:
        keys = (
            "modality",
            "match",
            "target",
            "preset",
            "place",
            "keep",
            "flops_ratio",
            "lm_tokens",
            "accuracy",
            "against_uncompressed",
            "against_random",
            "prefill_ratio",
        )
        lines = [{key: row.flat()[key] for key in keys} for row in self.rows]
        return html_table(lines, f"comparison on the {self.split} split")
