"""Per-sample results of a policy, what a split holds and what it costs there: plain data."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autotc.errors import DataError, one_line, quote
from autotc.files import replacing
from autotc.statistics import (
    Array,
    Difference,
    Interval,
    accuracy_interval,
    mean_of_differences,
    mean_of_intervals,
    paired_difference,
)

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 4
"""Decimals that evaluators give log-probabilities and divergences: another thread count, or another place in memory,
orders sums anew and changes the last bits of floats, and files of the same seed are to be equal byte by byte."""


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One sample's outcome.

    Attributes:
        id: of the sample; pairs results of two policies.
        task: name of its task.
        modality: group it is reported in: ``image``, ``video``, ``audio`` or ``image+audio``.
        correct: 1.0 right, 0.0 wrong; metrics of the user's own may lie between.
        answer: what the model said; the built-in evaluator stops at the first token that cannot be right.
        log_probability: of the right answer, natural logarithm, summed over its tokens.
        divergence: KL divergence to the uncompressed model's prediction, mean over the right answer's positions, in
            nats; NaN where the uncompressed model was not run on the sample before.
        cluster: samples of one cluster share a picture, a clip or a document; empty for a sample of its own.
    """

    id: str
    task: str
    modality: str
    correct: float
    answer: str
    log_probability: float
    divergence: float = math.nan
    cluster: str = ""


@dataclass(frozen=True)
class Results:
    """Per-sample results of one policy on one split."""

    samples: tuple[SampleResult, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def groups(self, key: Literal["modality", "task"]) -> dict[str, Array]:
        """``correct`` (n,) of each modality or task, in order of first appearance."""
        out: dict[str, list[float]] = {}
        for sample in self.samples:
            out.setdefault(getattr(sample, key), []).append(sample.correct)
        return {name: np.array(values) for name, values in out.items()}

    def clusters(self, key: Literal["modality", "task"]) -> dict[str, list[str]]:
        """The cluster of each sample of each modality or task, in the order of `groups`."""
        out: dict[str, list[str]] = {}
        for sample in self.samples:
            out.setdefault(getattr(sample, key), []).append(sample.cluster)
        return out

    def accuracy(self, key: Literal["modality", "task"] = "modality") -> dict[str, Interval]:
        """Mean and 95% interval of each modality or task."""
        clusters = self.clusters(key)
        return {name: accuracy_interval(values, clusters[name]) for name, values in self.groups(key).items()}

    def overall(self) -> Interval:
        """Mean over modalities of their accuracy, with its 95% interval."""
        return mean_of_intervals(list(self.accuracy().values()))

    def mean(self) -> float:
        """Mean over modalities of their accuracy: what the search maximises."""
        return float(np.mean([values.mean() for values in self.groups("modality").values()]))

    def mean_log_probability(self) -> float:
        """Mean over modalities of the right answers' log-probability, none below -10: dense, accuracy is coarse.

        A sample without one counts as right for sure or as wrong as can be.
        """
        groups: dict[str, list[float]] = {}
        for sample in self.samples:
            known = math.isfinite(sample.log_probability)
            value = max(sample.log_probability, -10.0) if known else 10.0 * (sample.correct - 1.0)
            groups.setdefault(sample.modality, []).append(value)
        return float(np.mean([np.mean(values) for values in groups.values()]))

    def divergence(self) -> float:
        """Mean over modalities of the divergence to the uncompressed model, none above 10; NaN where not known."""
        groups: dict[str, list[float]] = {}
        for sample in self.samples:
            groups.setdefault(sample.modality, []).append(min(sample.divergence, 10.0))
        return float(np.mean([np.mean(values) for values in groups.values()]))

    def counts(self) -> dict[str, int]:
        """Number of samples of each modality."""
        return {name: len(values) for name, values in self.groups("modality").items()}

    def only(self, task: str) -> Results:
        """The samples of one task."""
        return Results(tuple(sample for sample in self.samples if sample.task == task))

    def difference(self, other: Results) -> dict[str, Interval]:
        """Paired change in accuracy (this minus other) of each modality and ``overall`` (mean over modalities).

        Raises:
            DataError: the two hold different samples.
        """
        changes = self.changes(other)
        out = {name: change.interval() for name, change in changes.items()}
        out["overall"] = mean_of_differences(list(changes.values())).interval()
        return out

    def changes(self, other: Results, key: Literal["modality", "task"] = "modality") -> dict[str, Difference]:
        """Paired change in accuracy (this minus other) of each modality or task, as tests take it.

        Raises:
            DataError: the two hold different samples.
        """
        theirs = {sample.id: sample for sample in other.samples}
        if len(theirs) != len(self.samples) or any(s.id not in theirs for s in self.samples):
            raise DataError("results of different samples cannot be paired; evaluate both on the same split")
        deltas: dict[str, list[float]] = {}
        for sample in self.samples:
            deltas.setdefault(getattr(sample, key), []).append(sample.correct - theirs[sample.id].correct)
        clusters = self.clusters(key)
        return {name: paired_difference(np.array(values), clusters[name]) for name, values in deltas.items()}

    def save(self, path: str | Path) -> Path:
        """Write ``x.samples.parquet`` whole or not at all; returns its path.

        Raises:
            DataError: it cannot be written.
        """
        import pandas as pd

        columns = {name: [getattr(sample, name) for sample in self.samples] for name in _COLUMNS}
        with replacing(path) as beside:
            pd.DataFrame(columns).to_parquet(beside, index=False)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a samples file.

        Raises:
            DataError: it is missing, is not a samples file, holds no samples, or a value that no sample can have.
        """
        import pyarrow.parquet as pq

        if not Path(path).exists():
            raise DataError(f"{path}: no such file; a samples file (.samples.parquet) is expected")
        try:
            table = pq.ParquetFile(path).read()
        except Exception as error:  # pyarrow raises many kinds
            raise DataError(f"{path}: is not a samples file ({one_line(error, 120)})") from error
        if not table.num_rows:
            raise DataError(f"{path}: holds no samples; a samples file with at least one is expected")
        samples = _samples(table)
        if samples is None:
            rows = table.to_pandas().to_dict("records")
            samples = tuple(_sample(row, f"{path}: row {number}") for number, row in enumerate(rows))
        ids = set[str]()
        for number, sample in enumerate(samples):
            if sample.id in ids:
                raise DataError(f"{path}: row {number}: id: {quote(sample.id)} given twice; one row a sample is right")
            ids.add(sample.id)
        return cls(samples)


_COLUMNS = tuple(field.name for field in fields(SampleResult))
_WORDS = ("id", "task", "modality", "answer", "cluster")
_ABSENT: dict[str, float | str] = {"divergence": math.nan, "cluster": ""}
"""What files of before a column say in its place."""


def _samples(table: pa.Table) -> tuple[SampleResult, ...] | None:
    """A table of the columns and kinds that `Results.save` writes, read at once; None where it is another."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for name in _COLUMNS:
        if name not in table.column_names:
            if name not in _ABSENT:
                return None
            columns[name] = [_ABSENT[name]] * table.num_rows
            continue
        column = table.column(name)
        words = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if words != (name in _WORDS) or not (words or pa.types.is_floating(column.type)):
            return None
        if words and column.null_count:
            return None
        # Equal words of many files are one object: ids, tasks and most answers recur in every trial of a study. Numbers
        # that are none are stored as missing.
        columns[name] = [*map(sys.intern, column.to_pylist())] if words else column.to_numpy().tolist()
    if not all(0 <= value <= 1 for value in columns["correct"]):
        return None
    return tuple(map(SampleResult, *(columns[name] for name in _COLUMNS)))


def _sample(row: Mapping[Hashable, Any], where: str) -> SampleResult:
    """A row of a samples file as a sample's outcome."""
    row = {**row, **{name: value for name, value in _ABSENT.items() if name not in row}}
    missing = [name for name in _COLUMNS if name not in row]
    if missing:
        raise DataError(f"{where}: has no column {missing[0]!r}; a samples file (.samples.parquet) is expected")
    for name in _WORDS:
        if not isinstance(row[name], str):
            raise DataError(f"{where}: {name}: {quote(row[name])} given; a text is right")
    numbers = {name: row[name] for name in _COLUMNS if name not in _WORDS}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{where}: {name}: {quote(value)} given; a number is right")
    if not 0 <= numbers["correct"] <= 1:
        raise DataError(f"{where}: correct: {quote(numbers['correct'])} given; a score in [0, 1] is right")
    return SampleResult(
        id=row["id"],
        task=row["task"],
        modality=row["modality"],
        correct=float(numbers["correct"]),
        answer=row["answer"],
        log_probability=float(numbers["log_probability"]),
        divergence=float(numbers["divergence"]),
        cluster=row["cluster"],
    )


@dataclass(frozen=True)
class SplitCost:
    """Analytic cost of a policy on a split.

    Attributes:
        flops_ratio: sum of compressed over sum of uncompressed prefill FLOPs.
        flops_ratio_by: the same for each modality group.
        flops: mean compressed prefill FLOPs of a sample.
        tokens: modality -> mean modality tokens of an item at the language model's last layer.
        lm_tokens: modality -> tokens in the language model, averaged over its layers, as a share of the uncompressed.
        kv_bytes: mean bytes of keys and values of a sample after prefill.
        scoring_share: share of the compressed FLOPs spent on scores and mechanisms.
        kv_ratio: sum of compressed over sum of uncompressed bytes of keys and values.
        milliseconds: mean predicted prefill time of a sample by itself; None without a latency model.
        time_ratio: that relative to uncompressed.
    """

    flops_ratio: float
    flops_ratio_by: dict[str, float]
    flops: float
    tokens: dict[str, float]
    lm_tokens: dict[str, float]
    kv_bytes: float
    scoring_share: float
    kv_ratio: float = 1.0
    milliseconds: float | None = None
    time_ratio: float | None = None


@dataclass(frozen=True)
class SplitInfo:
    """What a split holds: samples of each modality group, hash of ids and answers, chance level of each task."""

    samples: dict[str, int]
    sha256: str
    chance: dict[str, float] = field(default_factory=dict)
