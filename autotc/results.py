"""Per-sample results of a policy, what a split holds and what it costs there: plain data."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

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


class Results:
    """Per-sample results of one policy on one split, kept as columns: a study holds those of thousands of policies.

    Args:
        samples: in order.

    Attributes:
        words, numbers: the columns of texts and of numbers, by the names of `SampleResult`'s attributes.
    """

    __slots__ = ("numbers", "words")

    def __init__(self, samples: Iterable[SampleResult]) -> None:
        rows = tuple(samples)
        self.words = {name: _one(tuple(getattr(row, name) for row in rows)) for name in WORDS}
        self.numbers = {name: np.array([getattr(row, name) for row in rows], dtype=float) for name in NUMBERS}

    @classmethod
    def of_columns(cls, words: Mapping[str, tuple[str, ...]], numbers: Mapping[str, Array]) -> Results:
        """From the columns of texts and of numbers, by the names of `SampleResult`'s attributes."""
        out = cls(())
        out.words, out.numbers = {name: _one(column) for name, column in words.items()}, dict(numbers)
        return out

    @classmethod
    def joined(cls, parts: Iterable[Results]) -> Results:
        """Results one after the other."""
        parts = list(parts)
        words = {name: tuple(word for part in parts for word in part.words[name]) for name in WORDS}
        numbers = {name: np.concatenate([np.empty(0), *(part.numbers[name] for part in parts)]) for name in NUMBERS}
        return cls.of_columns(words, numbers)

    @property
    def samples(self) -> tuple[SampleResult, ...]:
        """Each sample's outcome, in order; made anew each time."""
        # Numbers that are none are one object, so that equal outcomes are equal.
        numbers = {
            name: [value if value == value else math.nan for value in column.tolist()]
            for name, column in self.numbers.items()
        }
        columns = {**self.words, **numbers}
        return tuple(map(SampleResult, *(columns[name] for name in _COLUMNS)))

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the samples, in order."""
        return self.words["id"]

    @property
    def correct(self) -> Array:
        """(n,) scores of the answers."""
        return self.numbers["correct"]

    @property
    def log_probabilities(self) -> Array:
        """(n,) of the right answers."""
        return self.numbers["log_probability"]

    def __len__(self) -> int:
        return len(self.correct)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Results):
            return NotImplemented
        same = (np.array_equal(self.numbers[name], other.numbers[name], equal_nan=True) for name in NUMBERS)
        return self.words == other.words and all(same)

    def __hash__(self) -> int:
        return hash((self.ids, self.correct.tobytes()))

    def __repr__(self) -> str:
        return f"Results({len(self)} samples)"

    def _take(self, at: slice | NDArray[np.int64]) -> Results:
        """The samples at places, in ascending order."""
        if not isinstance(at, slice) and len(at) and at[-1] - at[0] + 1 == len(at):
            at = slice(int(at[0]), int(at[-1]) + 1)  # shares the columns' memory
        if isinstance(at, slice):
            words = {name: values[at] for name, values in self.words.items()}
        else:
            words = {name: tuple(values[i] for i in at.tolist()) for name, values in self.words.items()}
        return Results.of_columns(words, {name: column[at] for name, column in self.numbers.items()})

    def first(self, count: int) -> Results:
        """The first samples."""
        return self if count >= len(self) else self._take(slice(count))

    def by(self, key: Literal["modality", "task"]) -> dict[str, Results]:
        """Results of each modality or task, in order of first appearance."""
        return {name: self._take(at) for name, at in _places(self.words[key]).items()}

    def groups(self, key: Literal["modality", "task"]) -> dict[str, Array]:
        """``correct`` (n,) of each modality or task, in order of first appearance."""
        return {name: self.correct[at] for name, at in _places(self.words[key]).items()}

    def clusters(self, key: Literal["modality", "task"]) -> dict[str, list[str]]:
        """The cluster of each sample of each modality or task, in the order of `groups`."""
        clusters = self.words["cluster"]
        return {name: [clusters[i] for i in at.tolist()] for name, at in _places(self.words[key]).items()}

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
        log = self.log_probabilities
        values = np.where(np.isfinite(log), np.maximum(log, -10.0), 10.0 * (self.correct - 1.0))
        return self._mean_over_modalities(values)

    def divergence(self) -> float:
        """Mean over modalities of the divergence to the uncompressed model, none above 10; NaN where not known."""
        return self._mean_over_modalities(np.minimum(self.numbers["divergence"], 10.0))

    def _mean_over_modalities(self, values: Array) -> float:
        return float(np.mean([values[at].mean() for at in _places(self.words["modality"]).values()]))

    def counts(self) -> dict[str, int]:
        """Number of samples of each modality."""
        return {name: len(values) for name, values in self.groups("modality").items()}

    def only(self, task: str) -> Results:
        """The samples of one task."""
        return self.by("task").get(task, Results(()))

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
        theirs = {name: place for place, name in enumerate(other.ids)}
        if len(theirs) != len(self) or any(name not in theirs for name in self.ids):
            raise DataError("results of different samples cannot be paired; evaluate both on the same split")
        delta = self.correct - other.correct[[theirs[name] for name in self.ids]]
        clusters = self.clusters(key)
        places = _places(self.words[key])
        return {name: paired_difference(delta[at], clusters[name]) for name, at in places.items()}

    def save(self, path: str | Path) -> Path:
        """Write ``x.samples.parquet`` whole or not at all; returns its path.

        Raises:
            DataError: it cannot be written.
        """
        import pandas as pd

        columns = {**self.words, **self.numbers}
        with replacing(path) as beside:
            pd.DataFrame({name: columns[name] for name in _COLUMNS}).to_parquet(beside, index=False)
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
        results = _columns(table)
        if results is None:
            rows = table.to_pandas().to_dict("records")
            results = cls(_sample(row, f"{path}: row {number}") for number, row in enumerate(rows))
        met = set[str]()
        for number, name in enumerate(results.ids if len({*results.ids}) < len(results) else ()):
            if name in met:
                raise DataError(f"{path}: row {number}: id: {quote(name)} given twice; one row a sample is right")
            met.add(name)
        return results


_COLUMNS = tuple(field.name for field in fields(SampleResult))
WORDS = ("id", "task", "modality", "answer", "cluster")
NUMBERS = ("correct", "log_probability", "divergence")
_ABSENT: dict[str, float | str] = {"divergence": math.nan, "cluster": ""}
"""What files of before a column say in its place."""


@lru_cache(maxsize=1024)
def _one(words: tuple[str, ...]) -> tuple[str, ...]:
    """Of equal columns the one that was met first: those of a split recur in every policy that ran on it."""
    return words


@lru_cache(maxsize=1024)
def _places(words: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Word -> its places in a column, ascending, in order of first appearance."""
    out: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        out.setdefault(word, []).append(place)
    return {word: np.array(places) for word, places in out.items()}


def _columns(table: pa.Table) -> Results | None:
    """A table of the columns and kinds that `Results.save` writes, read at once; None where it is another."""
    import pyarrow as pa

    words: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, Array] = {}
    for name in _COLUMNS:
        absent = name not in table.column_names
        if absent and name not in _ABSENT:
            return None
        if name in WORDS:
            column = pa.chunked_array([pa.repeat("", table.num_rows)]) if absent else table.column(name)
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or column.null_count:
                return None
            # Equal words of many files are one object.
            words[name] = tuple(map(sys.intern, column.to_pylist()))
        elif absent:
            numbers[name] = np.full(table.num_rows, _ABSENT[name])
        else:
            column = table.column(name)
            if not pa.types.is_floating(column.type):
                return None
            # Numbers that are none are stored as missing.
            numbers[name] = np.array(column.to_numpy(), dtype=float)
    if not ((numbers["correct"] >= 0) & (numbers["correct"] <= 1)).all():
        return None
    return Results.of_columns(words, numbers)


def _sample(row: Mapping[Hashable, Any], where: str) -> SampleResult:
    """A row of a samples file as a sample's outcome."""
    row = {**row, **{name: value for name, value in _ABSENT.items() if name not in row}}
    missing = [name for name in _COLUMNS if name not in row]
    if missing:
        raise DataError(f"{where}: has no column {missing[0]!r}; a samples file (.samples.parquet) is expected")
    for name in WORDS:
        if not isinstance(row[name], str):
            raise DataError(f"{where}: {name}: {quote(row[name])} given; a text is right")
    numbers = {name: row[name] for name in _COLUMNS if name not in WORDS}
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
        flops_spread: FLOPs ratios of single samples: the lowest, the one that a tenth of the samples are at or below,
            and the same of a half, of nine tenths and of all.
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
    flops_spread: tuple[float, float, float, float, float] | None = None


@dataclass(frozen=True)
class SplitInfo:
    """What a split holds: samples of each modality group, hash of ids and answers, chance level of each task."""

    samples: dict[str, int]
    sha256: str
    chance: dict[str, float] = field(default_factory=dict)
