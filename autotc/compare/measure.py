"""Measure candidates: accuracy, cost and time, each once; what is stored does not run again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autotc.compare.candidates import Candidate
from autotc.errors import DataError, MechanismError, one_line
from autotc.evaluate.base import ObservableEvaluator
from autotc.evaluate.store import ResultStore
from autotc.files import read_text, write_text
from autotc.latency import Device
from autotc.policy import UNCOMPRESSED, Policy
from autotc.progress import Progress
from autotc.records.comparison import ComparisonRow, Skipped
from autotc.results import Results
from autotc.statistics import Interval
from autotc.vocabulary import MODALITIES, Modality, Split

_LOG = logging.getLogger(__name__)


@dataclass
class ComparisonStore(ResultStore):
    """Timings beside the results."""

    kind = "comparison"
    _timings: dict[str, list[float]] = field(default_factory=dict)

    def open(self) -> None:
        super().open()
        path = self.folder / "timings.json"
        if path.exists():
            try:
                self._timings = _timings(path)
            except (DataError, ValueError) as error:
                _LOG.warning("%s: is damaged (%s); times are measured again", path, one_line(error, 120))

    def timing(self, key: str, make: Callable[[], list[float]]) -> list[float]:
        """Times known by a key, else those that ``make`` returns, which are written."""
        if key not in self._timings:
            self._timings[key] = make()
            write_text(self.folder / "timings.json", json.dumps(self._timings))
        return self._timings[key]


def _timings(path: Path) -> dict[str, list[float]]:
    """Stored times: milliseconds, ratio and share of each policy.

    Raises:
        DataError: the file cannot be read.
        ValueError: it holds something else.
    """
    timings = json.loads(read_text(path, "a file of times"))
    if not isinstance(timings, dict):
        raise ValueError("no mapping")
    for key, times in timings.items():
        if not (isinstance(times, list) and len(times) == 3 and all(isinstance(t, float | int) for t in times)):
            raise ValueError(f"{key}: no three numbers")
    return timings


class Measurements:
    """Measures policies on the samples of one modality each.

    Args:
        evaluator: model and samples.
        split, limit: samples.
        folder: of the store.
        settings: what is compared; a folder with other settings, or results of another model or data, is refused.

    Raises:
        DataError: the folder holds a comparison of something else, or no sample holds one modality alone.
    """

    def __init__(
        self, evaluator: ObservableEvaluator, split: Split, limit: int | None, folder: Path, settings: Mapping[str, str]
    ) -> None:
        self.evaluator, self.split, self.limit = evaluator, split, limit
        info = evaluator.info(split)
        self.store = ComparisonStore(folder, evaluator.stamp(split), {"split": split, "limit": limit, **settings})
        self.store.open()
        self.modalities: tuple[Modality, ...] = tuple(m for m in MODALITIES if m in info.samples)
        if not self.modalities:
            raise DataError(f"{split}: no samples with one modality alone; they are what presets are compared on")

    def results(self, policy: Policy, modality: Modality) -> Results:
        """Results on the modality's samples."""
        return self.store.results(
            f"{modality}-{policy.content_hash()}",
            lambda: self.evaluator.run(policy, self.split, limit=self.limit, groups=[modality]),
        )

    def uncompressed(self) -> dict[str, Interval]:
        """Modality -> accuracy of the uncompressed model."""
        return {m: self.results(UNCOMPRESSED, m).accuracy()[m] for m in self.modalities}

    def times(self, policy: Policy, modality: Modality) -> tuple[float, float, float]:
        """Milliseconds of prefill a sample, ratio to uncompressed, share spent on scoring."""

        def measure() -> list[float]:
            times = self.evaluator.time_prefill(policy, self.split, modality)
            samples = min(8, self.evaluator.info(self.split).samples[modality])
            return [1000 * times.seconds / samples, times.ratio.mean, times.scoring_share]

        # Times hold on one device alone; results on all.
        device = Device.of(self.evaluator.loaded)
        key = f"{modality}-{policy.content_hash()}, {device.name}, {device.threads} threads"
        milliseconds, ratio, share = self.store.timing(key, measure)
        return milliseconds, ratio, share

    def row(self, candidate: Candidate) -> ComparisonRow:
        """Everything about one candidate."""
        modality, policy = candidate.modality, candidate.policy
        results, bare = self.results(policy, modality), self.results(UNCOMPRESSED, modality)
        control = None if candidate.control is None else self.results(candidate.control, modality)
        cost = self.evaluator.cost(policy, self.split, groups=[modality])
        milliseconds, ratio, share = self.times(policy, modality)
        tasks = {
            task: {
                "accuracy": accuracy,
                "against_uncompressed": results.only(task).difference(bare.only(task))[modality],
                "against_random": None
                if control is None
                else results.only(task).difference(control.only(task))[modality],
            }
            for task, accuracy in results.accuracy("task").items()
        }
        return ComparisonRow(
            preset=candidate.preset,
            place=candidate.place,
            match=candidate.match,
            target=candidate.target,
            modality=modality,
            keep=candidate.keep,
            met=candidate.met,
            flops_ratio=cost.flops_ratio_by[modality],
            lm_tokens=cost.lm_tokens[modality],
            kv_bytes=cost.kv_bytes,
            accuracy=results.accuracy()[modality],
            against_uncompressed=results.difference(bare)[modality],
            against_random=None if control is None else results.difference(control)[modality],
            tasks=tasks,
            prefill_ms=milliseconds,
            prefill_ratio=ratio,
            scoring_share=cost.scoring_share,
            scoring_time_share=share,
            policy=policy.content_hash(),
        )

    def rows(
        self, candidates: Sequence[Candidate], progress: Progress | None
    ) -> tuple[list[tuple[Candidate, ComparisonRow]], list[Skipped]]:
        """Each candidate in turn; those whose mechanism fails on the samples are skipped with the reason."""
        measured: list[tuple[Candidate, ComparisonRow]] = []
        skipped: list[Skipped] = []
        for number, candidate in enumerate(candidates, 1):
            shown = f"{candidate.preset} {candidate.modality} {candidate.match} {candidate.target:g}"
            try:
                row = self.row(candidate)
            except MechanismError as error:
                target = f"{candidate.match} {candidate.target:g}"
                skipped.append(Skipped(candidate.preset, candidate.modality, target, str(error)))
                shown = f"{shown}: {error}"
            else:
                measured.append((candidate, row))
                shown = f"{shown}: accuracy {row.accuracy.mean:.3f}"
            if progress is not None:
                progress(number, len(candidates), shown)
        return measured, skipped
