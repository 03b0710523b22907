"""What `autotc.bench.serving` measures: a policy in a serving engine beside the uncompressed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ServingSide:
    """One of the two sides of a row: the server with the policy, or the one without.

    Attributes:
        requests_per_second: that were answered.
        first_token_ms, first_token_p99_ms: from sending a request to its first token, median and 99th percentile.
        output_token_ms, output_token_p99_ms: for each token behind the first, a request's mean.
        prompt_tokens: of a request, as the server counts them.
    """

    requests_per_second: float
    first_token_ms: float
    first_token_p99_ms: float
    output_token_ms: float
    output_token_p99_ms: float
    prompt_tokens: float


@dataclass(frozen=True)
class ServingRow:
    """Both sides at one number of requests under way at once.

    Attributes:
        concurrency: requests under way at once.
        requests: of each measurement.
        policy, baseline: medians of the measurements.
        speedup: of requests a second: median of the pairs' ratios, with its 95% interval.
    """

    concurrency: int
    requests: int
    policy: ServingSide
    baseline: ServingSide
    speedup: Interval

    @property
    def fewer_tokens(self) -> float:
        """How many times fewer tokens prompts have under the policy."""
        return self.baseline.prompt_tokens / self.policy.prompt_tokens

    @property
    def slower(self) -> bool:
        """Whether fewer tokens gave fewer requests a second."""
        return self.fewer_tokens > 1 and self.speedup.mean < 1

    def to_json(self) -> dict[str, object]:
        """A row of the ``--json`` document."""
        return {
            "concurrency": self.concurrency,
            "requests": self.requests,
            **asdict(self.policy),
            **{f"baseline_{key}": value for key, value in asdict(self.baseline).items()},
            "speedup": self.speedup.mean,
            "speedup_interval": [self.speedup.low, self.speedup.high],
            "slower": self.slower,
        }


@dataclass(frozen=True)
class Serving:
    """What `autotc.bench.serving.bench_serving` found.

    Attributes:
        policy: name of what was measured, e.g. its file.
        label: its stages in words.
        model: that was served.
        traffic: what requests held.
        predicted_speedup: ratio of predicted FLOPs of one request's prefill.
        rows: one for each number of requests under way.
    """

    policy: str
    label: str
    model: str
    traffic: Mapping[str, int | None]
    predicted_speedup: float
    rows: tuple[ServingRow, ...]

    def to_json(self) -> dict[str, object]:
        """The ``--json`` document."""
        return {
            "policy": self.policy,
            "engine": "vllm",
            "model": self.model,
            "traffic": dict(self.traffic),
            "predicted_speedup": self.predicted_speedup,
            "rows": [row.to_json() for row in self.rows],
        }

    def to_pandas(self) -> pd.DataFrame:
        """One line for each number of requests under way.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame([row.to_json() for row in self.rows])

    def _repr_html_(self) -> str:
        shown = ("concurrency", "requests_per_second", "baseline_requests_per_second", "speedup", "first_token_ms")
        return html_table([{key: row.to_json()[key] for key in shown} for row in self.rows], self.label)
