"""Measured interactions: what a stack of two stages gains or loses against the better of the two at the same cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from autotc.conflicts.pairs import Alone, Pair, alone_at, flops_ratio
from autotc.conflicts.predicted import SPLIT as CALIBRATION
from autotc.conflicts.predicted import Calibration, Prediction, predict
from autotc.errors import DataError, PolicyError
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.store import ResultStore
from autotc.policy import UNCOMPRESSED, Policy
from autotc.report.interactions import Cell, Fate, dropped_png, heatmap_png
from autotc.report.tables import table
from autotc.results import Results
from autotc.statistics import Array, Interval, mean_interval, percentile_interval, resample_counts
from autotc.track import Tracker
from autotc.vocabulary import Modality, Split

Verdict = Literal["synergy", "neutral", "conflict"]
FOLDS = 5
"""Parts of the samples in the choice of the better single stage; no multiple of the embedded benchmark's tasks, which
are asked in turn."""


def verdict(interval: Interval) -> Verdict:
    """What an interaction's interval says: a conflict lies wholly below zero, a synergy wholly above."""
    _, low, high = interval
    return "conflict" if high < 0 else "synergy" if low > 0 else "neutral"


def interact(stack: Array, alone: Sequence[Array]) -> Interval:
    """Accuracy of a stack minus that of the better single stage, with its paired 95% interval.

    The better of two measured means is too good on average, by as much as their noise, and a stack that is as good as
    both would seem to conflict. So the better one is chosen on four fifths of the samples and compared on the fifth
    that had no part in the choice, in turn; where one is clearly better the choice is always the same and this is the
    plain paired difference. The interval is of a bootstrap over samples within which the choice is made anew.

    Args:
        stack: (n,) scores of the samples, sample i being the same everywhere.
        alone: one or two of the same, of single stages at the stack's cost.

    Raises:
        DataError: there are fewer than 2 samples, or not equally many of each.
    """
    n = len(stack)
    if n < 2 or not alone or any(len(one) != n for one in alone):
        raise DataError(
            f"{n} samples of the stack, {[len(one) for one in alone]} of single stages given; at least 2, equally many,"
            " are needed to compare them in pairs"
        )
    estimate = float(_crossed(np.ones((1, n)), stack, alone)[0])
    return percentile_interval(estimate, _crossed(resample_counts(n), stack, alone))


def _crossed(counts: Array, stack: Array, alone: Sequence[Array]) -> Array:
    """The cross-fitted difference of each resample, given how often it holds each sample (resamples, n)."""
    n = len(stack)
    fold = np.arange(n) % min(FOLDS, n)
    total = np.zeros(len(counts))
    sums = np.stack([counts @ one for one in alone])
    size = counts.sum(1)
    for f in range(min(FOLDS, n)):
        mine = counts[:, fold == f]
        inside = np.stack([mine @ one[fold == f] for one in alone])
        # Means over the other folds; all have one size, so sums would do but for a fold that holds every sample.
        outside = (sums - inside) / np.maximum(size - mine.sum(1), 1.0)
        chosen = outside.argmax(0)
        total += mine @ stack[fold == f] - inside[chosen, np.arange(len(counts))]
    out: Array = total / size
    return out


def additive(stack: Array, first: Array, second: Array, none: Array) -> Interval:
    """acc(AB) - acc(A) - acc(B) + acc(none), A and B alone at the ratios they have in the stack; paired interval."""
    return mean_interval(stack - first - second + none)


def open_store(evaluator: ModelEvaluator, split: Split, limit: int | None, folder: Path) -> ResultStore:
    """The store of a folder, for this model and these samples.

    Raises:
        DataError: the folder holds results of something else.
    """
    info = evaluator.info(split)
    stamp: dict[str, Any] = {
        "format": 1,
        "evaluator": evaluator.name,
        "architecture": evaluator.model.architecture,
        "fingerprint": evaluator.model.fingerprint,
        "split": split,
        "limit": limit,
        "samples_sha256": info.sha256,
    }
    store = ResultStore(folder, stamp)
    store.open()
    return store


@dataclass(frozen=True)
class Measured:
    """One pair's interaction.

    Attributes:
        pair: what was stacked.
        interaction: of the stack and the better stage alone at its cost, with its 95% interval.
        additive: acc(AB) - acc(A) - acc(B) + acc(none), A and B at the ratios they have in the stack.
        accuracy: means of ``stack``, ``first`` and ``second`` (alone at the stack's cost), ``first_own`` and
            ``second_own`` (alone at their ratios in the stack), ``none``.
        flops_ratio: of ``stack``, ``first`` and ``second``.
        reached: which of ``first`` and ``second`` can cost as little as the stack; the others are no alternative.
        ratios: final keep ratios of ``first`` and ``second`` there.
        samples: compared.
    """

    pair: Pair
    interaction: Interval
    additive: Interval
    accuracy: dict[str, float]
    flops_ratio: dict[str, float]
    reached: tuple[str, ...]
    ratios: dict[str, float]
    samples: int

    @property
    def verdict(self) -> Verdict:
        """Synergy, neutral or conflict."""
        return verdict(self.interaction)

    @property
    def better(self) -> str:
        """``first`` or ``second``: the more accurate one at the stack's cost."""
        return max(self.reached, key=lambda name: self.accuracy[name])


def alternatives(evaluator: ModelEvaluator, pair: Pair, split: Split) -> tuple[float, dict[str, Alone]]:
    """FLOPs ratio of a pair's stack, and each stage alone moved onto it."""
    target = flops_ratio(evaluator, pair.stack(), split, pair.modality)
    named = zip(("first", "second"), pair.stages(), strict=True)
    return target, {name: alone_at(evaluator, stage, target, split) for name, stage in named}


def measure_pair(
    evaluator: ModelEvaluator, store: ResultStore, pair: Pair, split: Split, limit: int | None
) -> Measured:
    """Measure one pair; what the store knows does not run again.

    Raises:
        PolicyError: the stack does not fit the model, or neither stage can cost as little as the stack.
    """

    def run(policy: Policy) -> Array:
        key = f"{pair.modality}-{policy.content_hash()}"
        found = store.results(key, lambda: evaluator.run(policy, split, limit=limit, groups=[pair.modality]))
        return _scores(found, pair.modality)

    target, alone = alternatives(evaluator, pair, split)
    reached = tuple(name for name, found in alone.items() if found.reached)
    if not reached:
        raise PolicyError(f"{pair.label}: neither stage alone can cost as little as the stack, {target:.3f}")
    stack, none = run(pair.stack()), run(UNCOMPRESSED)
    scores = {name: run(alone[name].policy) for name in reached}
    own = [run(Policy(stages=(stage,))) for stage in pair.stages()]
    means = {name: float(values.mean()) for name, values in scores.items()}
    return Measured(
        pair,
        interact(stack, [scores[name] for name in reached]),
        additive(stack, own[0], own[1], none),
        {
            "stack": float(stack.mean()),
            **means,
            "first_own": float(own[0].mean()),
            "second_own": float(own[1].mean()),
            "none": float(none.mean()),
        },
        {"stack": target, **{name: found.flops_ratio for name, found in alone.items()}},
        reached,
        {name: found.policy.stages[0].final_ratio for name, found in alone.items()},
        len(stack),
    )


def _scores(results: Results, modality: Modality) -> Array:
    return results.groups("modality")[modality]


class Report(Protocol):
    """Told how far a measurement is."""

    def __call__(self, done: int, total: int, below: str = "") -> None:
        """``done`` of ``total`` pairs are measured; ``below`` is the last."""


@dataclass(frozen=True)
class Row:
    """A pair, as predicted and as measured."""

    measured: Measured
    prediction: Prediction

    def to_json(self) -> dict[str, Any]:
        """A row of the ``--json`` document."""
        found, pair = self.measured, self.measured.pair
        mean, low, high = found.interaction
        return {
            "first": pair.first.label,
            "second": pair.second.label,
            "modality": pair.modality,
            "keep": list(pair.keeps),
            "predicted": self.prediction.score,
            "interaction": mean,
            "interval": [low, high],
            "verdict": found.verdict,
            "additive": list(found.additive),
            "better": found.better,
            "accuracy": found.accuracy,
            "flops_ratio": found.flops_ratio,
            "reached": list(found.reached),
            "keep_alone": found.ratios,
            "samples": found.samples,
            "features": self.prediction.features,
            "words": self.words(),
        }

    def words(self) -> str:
        """The pair in a sentence or three."""
        found, pair = self.measured, self.measured.pair
        mean, low, high = (100 * x for x in found.interaction)
        better = pair.first if found.better == "first" else pair.second
        unclear = "cannot be told from its better stage"
        does = {"conflict": "loses", "synergy": "gains", "neutral": unclear}[found.verdict]
        much = f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
        other = {"first": pair.second, "second": pair.first}[found.better]
        alone = (
            f"{other.label} alone, {100 * found.accuracy[_other(found.better)]:.1f}%"
            if len(found.reached) > 1
            else f"{other.label} alone cannot cost so little"
        )
        return (
            f"{pair.label} {does}: {much}. The stack is right on {100 * found.accuracy['stack']:.1f}%,"
            f" {better.label} alone at its cost"
            f" ({found.flops_ratio['stack']:.3f} of the FLOPs, keeping {found.ratios[found.better]:g}) on"
            f" {100 * found.accuracy[found.better]:.1f}%; {alone}. On calibration samples, {self.prediction.reason}."
        )


def _other(name: str) -> str:
    return "second" if name == "first" else "first"


@dataclass(frozen=True)
class Conflicts:
    """What `measure` found.

    Attributes:
        folder: where everything was written.
        rows: one for each pair, in the order given.
        skipped: (pair, why) of what was not measured.
        files: JSON, table and figures.
    """

    folder: Path
    rows: tuple[Row, ...]
    skipped: tuple[tuple[str, str], ...]
    files: tuple[Path, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """The ``--json`` document."""
        return [row.to_json() for row in self.rows]

    def ranked(self) -> list[Row]:
        """From the worst interaction to the best."""
        return sorted(self.rows, key=lambda row: row.measured.interaction[0])

    def text(self) -> str:
        """The table, worst pair first, and the worst and the best in words."""
        headers = ["modality", "first", "second", "keep", "FLOPs", "stack", "better alone", "interaction", "verdict",
                   "additive", "predicted"]  # fmt: skip
        lines = []
        for row in self.ranked():
            found, pair = row.measured, row.measured.pair
            lines.append(
                [
                    pair.modality, pair.first.label, pair.second.label, "{:g}, {:g}".format(*pair.keeps),
                    f"{found.flops_ratio['stack']:.3f}", f"{100 * found.accuracy['stack']:.1f}",
                    f"{100 * found.accuracy[found.better]:.1f}", _points(found.interaction), found.verdict,
                    _points(found.additive), f"{row.prediction.score:.2f}",
                ]
            )  # fmt: skip
        parts = [table(headers, lines)]
        ranked = self.ranked()
        if ranked:
            parts.append(f"worst: {ranked[0].words()}")
        if len(ranked) > 1:
            parts.append(f"best: {ranked[-1].words()}")
        parts += [f"not measured: {label}: {why}" for label, why in self.skipped]
        return "\n\n".join(parts)


def _points(value: Interval) -> str:
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in value))


def measure(
    evaluator: ModelEvaluator,
    pairs: Sequence[Pair],
    *,
    split: Split = "test",
    limit: int | None = None,
    samples: int = 16,
    runs: str | Path = "runs",
    name: str = "default",
    mlflow: bool = True,
    mlflow_uri: str | None = None,
    progress: Report | None = None,
) -> Conflicts:
    """Predict and measure the interactions of pairs; write table, JSON and figures, and log them.

    Args:
        evaluator: model and samples.
        pairs: to measure.
        split, limit: samples that interactions are measured on.
        samples: calibration samples of the predictions.
        runs, name: everything is written to ``runs/conflicts/name``; what is there already does not run again.
        mlflow, mlflow_uri: whether and where to log.
        progress: called after each pair.

    Raises:
        DataError: the folder holds results of something else.
        PolicyError: there is no pair, or a rule refuses one.
    """
    if not pairs:
        raise PolicyError("pairs: none is left to measure; give stages that take the modality and stack legally")
    for pair in pairs:
        pair.check(evaluator)
    folder = Path(runs) / "conflicts" / name
    store = open_store(evaluator, split, limit, folder)
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    for i, pair in enumerate(pairs):
        try:
            prediction = predict(evaluator, pair.stack(), samples=samples)
            rows.append(Row(measure_pair(evaluator, store, pair, split, limit), prediction))
            below = f"{pair.label}: {_points(rows[-1].measured.interaction)}"
        except PolicyError as error:
            skipped.append((pair.label, str(error)))
            below = f"{pair.label}: {error}"
        if progress is not None:
            progress(i + 1, len(pairs), below)
    found = Conflicts(folder, tuple(rows), tuple(skipped))
    found = Conflicts(folder, found.rows, found.skipped, tuple(_files(evaluator, found, samples)))
    if mlflow:
        _log(evaluator, name, runs, mlflow_uri, found)
    return found


def heatmap_panels(rows: Sequence[Measured]) -> dict[str, list[Cell]]:
    """Cells of the heatmap, a panel for each modality and setting of ratios."""
    panels: dict[str, list[Cell]] = {}
    for row in rows:
        key = "{}, keep {:g} then {:g}".format(row.pair.modality, *row.pair.keeps)
        cell = Cell(row.pair.first.label, row.pair.second.label, 100 * row.interaction[0], row.verdict != "neutral")
        panels.setdefault(key, []).append(cell)
    return panels


def _files(evaluator: ModelEvaluator, found: Conflicts, samples: int) -> Iterator[Path]:
    """Write everything; yields the paths."""
    path = found.folder / "conflicts.json"
    path.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
    yield path
    path = found.folder / "conflicts.txt"
    path.write_text(found.text() + "\n", encoding="utf-8")
    yield path
    ranked = found.ranked()
    if not ranked:
        return
    panels = heatmap_panels([row.measured for row in found.rows])
    yield heatmap_png("Interactions of stages", panels, found.folder / "conflicts.png")
    for kind, row in (("worst", ranked[0]), ("best", ranked[-1]))[: len(ranked)]:
        yield overlay(evaluator, row, samples, found.folder / f"{kind}.png")


def overlay(evaluator: ModelEvaluator, row: Row, samples: int, path: Path) -> Path:
    """Draw what each stage of a pair drops of the calibration sample on which the stack does most harm."""
    pair = row.measured.pair
    look = Calibration(evaluator, pair.modality, samples)
    both, first = look.see(pair.stack()), look.see(Policy(stages=pair.stages()[:1]))
    worst = int(both.shifts.argmax())
    kind = {"image": "images", "video": "videos", "audio": "audio"}[pair.modality]
    members = [s for s in evaluator.samples(CALIBRATION) if s.group == look.group][:samples]
    items = [(i, item) for i, sample in enumerate(members) for item in sample.media().get(kind, [])]
    number = next(at for at, (i, _) in enumerate(items) if i == worst)
    boxes = look.boxes(pair.stack())[number]
    whole = boxes.amax(0)
    shares = boxes / whole[[1, 1, 3, 3, 5, 5]].clamp_min(1e-9)
    start = both.lost.shape[1] - len(boxes)
    fates = [
        Fate(
            tuple(shares[i].tolist()),
            1 if first.lost[number, start + i] else 2 if both.lost[number, start + i] else 0,
            bool(both.merged[number, start + i]),
        )
        for i in range(len(boxes))
    ]
    mean, low, high = (100 * x for x in row.measured.interaction)
    title = (
        f"{pair.label}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}], {row.measured.verdict}\n{members[worst].prompt}"
    )
    names = (pair.first.label, pair.second.label)
    return dropped_png(title, names, np.asarray(items[number][1]), fates, path)


def _log(evaluator: ModelEvaluator, name: str, runs: str | Path, uri: str | None, found: Conflicts) -> None:
    """One parent run, a nested run for each pair."""
    params = {"kind": "conflicts", "architecture": evaluator.model.architecture, "seed": evaluator.seed}
    with Tracker(f"conflicts-{name}", root=runs, uri=uri, params=params) as tracker:
        for i, row in enumerate(found.rows):
            mean, low, high = row.measured.interaction
            metrics = {
                "interaction": mean,
                "interaction_low": low,
                "interaction_high": high,
                "additive": row.measured.additive[0],
                "predicted": row.prediction.score,
                "accuracy": row.measured.accuracy["stack"],
                "flops_ratio": row.measured.flops_ratio["stack"],
            }
            pair = row.measured.pair
            more = {"first": pair.first.label, "second": pair.second.label, "verdict": row.measured.verdict}
            tracker.trial(i, pair.stack(), metrics=metrics, params=more)
        keys = ("modality", "first", "second", "predicted", "interaction", "verdict")
        verdicts = [row.measured.verdict for row in found.rows]
        tracker.finish(
            metrics={verdict: float(verdicts.count(verdict)) for verdict in ("synergy", "neutral", "conflict")},
            front=[{key: row[key] for key in keys} for row in found.to_json()],
            artefacts=found.files,
        )
