"""What `autotc.bench` measures: time and memory of a policy beside the uncompressed model's, and what predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotc.latency import LatencyModel
from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SideMeasurement:
    """One of the two sides of a row: the policy, or the uncompressed model.

    Attributes:
        prefill_ms: median time of one forward over the prompt that fills the cache and scores its last position.
        first_token_ms: median time from the call of ``generate()`` to the first token.
        output_token_ms: median time of each token after the first.
        peak_bytes: working memory of a prefill: the most held, less what was held before it.
        kv_bytes: keys and values in the cache after prefill.
        layer_tokens: tokens in each decoder layer, of a batch's longest row.
        flops: predicted, of the batch's prefill.
    """

    prefill_ms: float
    first_token_ms: float
    output_token_ms: float
    peak_bytes: int
    kv_bytes: int
    layer_tokens: tuple[int, ...]
    flops: float

    def to_json(self, prefix: str = "") -> dict[str, Any]:
        """Its fields, their names behind a prefix."""
        return {
            f"{prefix}{key}": list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class BenchRow:
    """A policy beside the uncompressed model on one batch, both in turn in one run.

    Attributes:
        case: name of the batch.
        batch, length: its rows, and tokens of the longest uncompressed.
        policy, baseline: what was measured.
        speedup: of prefill: median of the pairs' ratios, with its 95% interval.
        predicted_speedup: ratio of predicted FLOPs, the LM head at the last position alone, as ``generate()`` runs it.
        scoring_ms: time of a prefill spent on scores and mechanisms; on an accelerator with waiting for it.
        stages: what each stage was asked for and left.
    """

    case: str
    batch: int
    length: int
    policy: SideMeasurement
    baseline: SideMeasurement
    speedup: Interval
    predicted_speedup: float
    scoring_ms: float
    stages: tuple[Mapping[str, Any], ...]

    @property
    def realised(self) -> float | None:
        """Share of the predicted gain that the clock shows: (speed-up - 1) / (predicted - 1); None without a gain."""
        promised = self.predicted_speedup - 1
        return None if abs(promised) < 1e-9 else (self.speedup.mean - 1) / promised

    @property
    def scoring_share(self) -> float:
        """Share of a prefill's time that is spent on scores and mechanisms."""
        return self.scoring_ms / self.policy.prefill_ms

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        return {
            "case": self.case,
            "batch": self.batch,
            "length": self.length,
            **self.policy.to_json(),
            **self.baseline.to_json("baseline_"),
            "speedup": self.speedup.mean,
            "speedup_interval": [self.speedup.low, self.speedup.high],
            "predicted_speedup": self.predicted_speedup,
            "realised": self.realised,
            "scoring_ms": self.scoring_ms,
            "scoring_share": self.scoring_share,
            "stages": [dict(stage) for stage in self.stages],
        }


@dataclass(frozen=True)
class Bench:
    """What `autotc.bench` found.

    Attributes:
        policy: name of what was measured: its file, or ``none``.
        label: its stages in words.
        device: name, threads, dtype and torch version of where it ran.
        rows: one for each batch.
    """

    policy: str
    label: str
    device: Mapping[str, Any]
    rows: tuple[BenchRow, ...]

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document: the first row's values, and all rows."""
        rows = [row.to_json() for row in self.rows]
        return {"policy": self.policy, "device": dict(self.device), **rows[0], "rows": rows}

    def to_pandas(self) -> pd.DataFrame:
        """One line for each batch.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame([row.to_json() for row in self.rows])

    def _repr_html_(self) -> str:
        shown = ("case", "batch", "prefill_ms", "baseline_prefill_ms", "speedup", "predicted_speedup", "realised")
        lines = [{key: row.to_json()[key] for key in (*shown, "peak_bytes", "kv_bytes")} for row in self.rows]
        return html_table(lines, self.label)


@dataclass(frozen=True)
class LatencyCalibration:
    """What `calibrate` learnt.

    Attributes:
        latency: the latency model.
        mechanisms: that were asked for.
        file: where it was written.
    """

    latency: LatencyModel
    mechanisms: tuple[str, ...]
    file: Path

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        median, worst = self.latency.errors()
        return {
            "file": str(self.file),
            "device": self.latency.device.model_dump(),
            "mechanisms": list(self.mechanisms),
            "median_error": median,
            "worst_error": worst,
            "held_out": [{**row.model_dump(), "error": row.error} for row in self.latency.held_out],
        }

    def to_pandas(self) -> pd.DataFrame:
        """One line for each policy that the fit did not see: measured, predicted, error.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame(self.to_json()["held_out"])

    def _repr_html_(self) -> str:
        return html_table(self.to_json()["held_out"], "predictions of policies that the fit did not see")
