"""Compare presets on equal terms: the same samples, at equal language-model tokens or at equal cost."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from autotc.conflicts.rules import check_rules
from autotc.errors import AutotcError, DataError, PolicyError
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.store import ResultStore
from autotc.mechanisms import MECHANISMS
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.presets import PRESETS, Preset, get_preset
from autotc.report.figures import Curve, curves_png
from autotc.results import Results, SplitCost
from autotc.statistics import Interval
from autotc.track import Tracker
from autotc.vocabulary import MODALITIES, Location, Modality, Split

Match = Literal["tokens", "cost"]
TOKENS = (0.5, 0.25, 0.1)
COSTS = (0.75, 0.5)
KEEPS = (0.1, 0.2, 0.35, 0.5, 0.75)
WITHIN = 0.01
"""How near a match has to come."""
_FORMAT = 1


class Report(Protocol):
    """Told how far a comparison is."""

    def __call__(self, done: int, total: int, below: str = "") -> None:
        """``done`` of ``total`` policies are measured; ``below`` is the last row."""


@dataclass(frozen=True)
class Row:
    """One preset on one modality at one target.

    Attributes:
        preset: its name; for a location, the mechanism.
        place: where it stands, e.g. ``projector`` or ``decoder[2]``.
        match, target: what was made equal, and at which value.
        modality: whose samples.
        keep: keep ratio after its last part.
        met: whether the target was met within 0.01; None where it lies below what the preset can reach.
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
    match: str
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


@dataclass(frozen=True)
class Comparison:
    """What `compare_presets` and `compare_locations` found.

    Attributes:
        folder: where everything was written.
        rows: one per preset, target and modality.
        uncompressed: modality -> accuracy.
        skipped: (preset, modality, target, why) of what was not measured.
        files: tables and figures.
    """

    folder: Path
    rows: tuple[Row, ...]
    uncompressed: Mapping[str, Interval]
    skipped: tuple[tuple[str, str, str, str], ...]
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "uncompressed": dict(self.uncompressed),
            "skipped": [dict(zip(("preset", "modality", "target", "why"), s, strict=True)) for s in self.skipped],
            "files": [str(path) for path in self.files],
        }


@dataclass
class _Store(ResultStore):
    """Timings beside the results."""

    kind = "comparison"
    _timings: dict[str, Any] = field(default_factory=dict)

    def open(self) -> None:
        super().open()
        timings = self.folder / "timings.json"
        if timings.exists():
            self._timings = json.loads(timings.read_text(encoding="utf-8"))

    def timing(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._timings:
            self._timings[key] = make()
            part = self.folder / "timings.part"
            part.write_text(json.dumps(self._timings), encoding="utf-8")
            os.replace(part, self.folder / "timings.json")
        return self._timings[key]


@dataclass(frozen=True)
class _Entry:
    """A policy on one modality, ready to be measured."""

    preset: str
    place: str
    match: str
    target: float
    modality: Modality
    keep: float
    met: bool
    policy: Policy


class _Runner:
    """Measures entries: accuracy, cost and time, each once."""

    def __init__(
        self, evaluator: ModelEvaluator, split: Split, limit: int | None, folder: Path, stamp: Mapping[str, Any]
    ) -> None:
        self.evaluator, self.split, self.limit = evaluator, split, limit
        info = evaluator.info(split)
        whole = {
            "format": _FORMAT,
            "evaluator": evaluator.name,
            "architecture": evaluator.model.architecture,
            "fingerprint": evaluator.model.fingerprint,
            "split": split,
            "limit": limit,
            "samples_sha256": info.sha256,
            **stamp,
        }
        self.store = _Store(folder, whole)
        self.store.open()
        self.modalities: tuple[Modality, ...] = tuple(m for m in MODALITIES if m in info.samples)
        if not self.modalities:
            raise DataError(f"{split}: no samples with one modality alone; they are what presets are compared on")

    def results(self, policy: Policy, modality: Modality) -> Results:
        key = f"{modality}-{policy.content_hash()}"
        return self.store.results(
            key, lambda: self.evaluator.run(policy, self.split, limit=self.limit, groups=[modality])
        )

    def cost(self, policy: Policy, modality: Modality) -> SplitCost:
        return self.evaluator.cost(policy, self.split, groups=[modality])

    def time(self, policy: Policy, modality: Modality) -> tuple[float, float, float]:
        """Milliseconds a sample, ratio to uncompressed, share spent on scoring."""

        def measure() -> list[float]:
            times = self.evaluator.time_prefill(policy, self.split, modality)
            samples = min(8, self.evaluator.info(self.split).samples[modality])
            return [1000 * times.seconds / samples, times.ratio.mean, times.scoring_share]

        ms, ratio, share = self.store.timing(f"{modality}-{policy.content_hash()}", measure)
        return ms, ratio, share

    def row(self, entry: _Entry, random: Policy | None) -> Row:
        mine, plain = self.results(entry.policy, entry.modality), self.results(UNCOMPRESSED, entry.modality)
        chance = self.results(random, entry.modality) if random is not None else None
        cost = self.cost(entry.policy, entry.modality)
        ms, ratio, share = self.time(entry.policy, entry.modality)
        tasks = mine.accuracy("task")
        return Row(
            entry.preset,
            entry.place,
            entry.match,
            entry.target,
            entry.modality,
            entry.keep,
            entry.met,
            cost.flops_ratio_by[entry.modality],
            cost.lm_tokens[entry.modality],
            cost.kv_bytes,
            mine.accuracy()[entry.modality],
            mine.difference(plain)[entry.modality],
            None if chance is None else mine.difference(chance)[entry.modality],
            {
                task: {
                    "accuracy": value,
                    "against_uncompressed": mine.only(task).difference(plain.only(task))[entry.modality],
                    "against_random": None
                    if chance is None
                    else mine.only(task).difference(chance.only(task))[entry.modality],
                }
                for task, value in tasks.items()
            },
            ms,
            ratio,
            cost.scoring_share,
            share,
            entry.policy.content_hash(),
        )


def _chosen(presets: Sequence[str] | Literal["all"]) -> list[Preset]:
    return list(PRESETS.values()) if presets == "all" else [get_preset(name) for name in presets]


def _reach(
    evaluator: ModelEvaluator, split: Split, preset: Preset, modality: Modality, match: Match, target: float
) -> tuple[float, Policy, bool]:
    """The keep ratio at which a preset comes nearest to a target from below, by bisection.

    Returns:
        Keep ratio, policy, and whether it lies within 0.01 of the target.

    Raises:
        PolicyError: no keep ratio gives a legal policy, or even the lowest costs more.
    """

    def at(keep: float) -> tuple[Policy, float]:
        policy = Policy.of(preset.build(modality, evaluator.depths, keep))
        cost = evaluator.cost(policy, split, groups=[modality])
        return policy, cost.lm_tokens[modality] if match == "tokens" else cost.flops_ratio_by[modality]

    low, high = 1e-4, 1.0
    policy, least = at(low)
    if least > target + WITHIN:
        what = "of the language model's tokens" if match == "tokens" else "of the FLOPs"
        raise PolicyError(f"below its floor: it cannot go under {least:.3f} {what}")
    best, best_value, keep = policy, least, low
    for _ in range(24):
        middle = (low + high) / 2
        policy, value = at(middle)
        if abs(value - target) < abs(best_value - target):
            best, best_value, keep = policy, value, middle
        low, high = (middle, high) if value <= target else (low, middle)
        if high - low < 1e-4:
            break
    return keep, best, abs(best_value - target) <= WITHIN


def compare_presets(
    evaluator: ModelEvaluator,
    presets: Sequence[str] | Literal["all"] = "all",
    *,
    tokens: Sequence[float] = TOKENS,
    costs: Sequence[float] = COSTS,
    split: Split = "test",
    limit: int | None = None,
    runs: str | Path = "runs",
    name: str = "compare",
    mlflow: bool = True,
    mlflow_uri: str | None = None,
    progress: Report | None = None,
) -> Comparison:
    """Measure presets on the same samples, matched by mean language-model tokens and by cost.

    A preset's ratios are raised to one exponent until the target is met on the modality's samples. Each modality is
    compressed and measured alone.

    Args:
        evaluator: model and samples.
        presets: names, or ``all``. ``random`` is always measured, since every row is compared with it.
        tokens: targets for the mean tokens in the language model, relative to uncompressed.
        costs: targets for the FLOPs ratio.
        split, limit: samples.
        runs, name: everything is written to ``runs/name``; what is there already is not measured again.
        mlflow, mlflow_uri: whether and where to log.
        progress: called after each policy.

    Raises:
        PolicyError: a preset is unknown.
        DataError: ``runs/name`` holds a comparison of something else.
    """
    chosen = _chosen(presets)
    folder = Path(runs) / name
    runner = _Runner(evaluator, split, limit, folder, {"by": "preset"})
    targets: list[tuple[Match, float]] = [("tokens", t) for t in tokens] + [("cost", c) for c in costs]
    entries: list[_Entry] = []
    skipped: list[tuple[str, str, str, str]] = []
    randoms: dict[tuple[str, float, str], Policy] = {}
    for match, target in targets:
        for modality in runner.modalities:
            with_random = chosen if any(p.name == "random" for p in chosen) else [get_preset("random"), *chosen]
            for preset in with_random:
                if modality not in preset.modalities:
                    continue
                try:
                    keep, policy, met = _reach(evaluator, split, preset, modality, match, target)
                except AutotcError as error:
                    skipped.append((preset.name, modality, f"{match} {target:g}", str(error)))
                    continue
                if preset.name == "random":
                    randoms[match, target, modality] = policy
                place = ", ".join(preset.locations)
                entries.append(_Entry(preset.name, place, match, target, modality, keep, met, policy))
    rows = list(_measure(runner, entries, randoms, progress))
    comparison = _write(runner, folder, rows, skipped)
    if mlflow:
        _log(evaluator, name, runs, mlflow_uri, entries, rows, comparison)
    return comparison


def compare_locations(
    evaluator: ModelEvaluator,
    mechanism: str = "divprune",
    *,
    keeps: Sequence[float] = KEEPS,
    split: Split = "test",
    limit: int | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    mlflow: bool = True,
    mlflow_uri: str | None = None,
    progress: Report | None = None,
) -> Comparison:
    """Measure one mechanism at every place it can stand: encoder blocks, projector, decoder layers.

    At the input, where there are no tokens yet, ``downsample`` stands for it.

    Args:
        evaluator: model and samples.
        mechanism: its name.
        keeps: keep ratios.
        split, limit, runs, name, mlflow, mlflow_uri, progress: as in `compare_presets`.

    Raises:
        PolicyError: the mechanism is unknown.
        DataError: ``runs/name`` holds a comparison of something else.
    """
    if mechanism not in MECHANISMS:
        raise PolicyError(f"mechanism: unknown mechanism {mechanism!r}; known: {', '.join(sorted(MECHANISMS))}")
    name = name or f"locations-{mechanism}"
    folder = Path(runs) / name
    runner = _Runner(evaluator, split, limit, folder, {"by": "location", "mechanism": mechanism})
    entries: list[_Entry] = []
    skipped: list[tuple[str, str, str, str]] = []
    for modality in runner.modalities:
        for placed, location, layer in _places(mechanism, modality, evaluator):
            place = location if layer is None else f"{location}[{layer}]"
            for keep in keeps:
                stage = Stage(modality=modality, location=location, layer=layer, mechanism=placed, keep_ratio=keep)
                policy = Policy.of([stage])
                try:
                    check_rules(policy, evaluator.depths, {str(m): places for m, places in evaluator.locations.items()})
                except PolicyError as error:
                    skipped.append((placed, modality, f"{place} {keep:g}", str(error)))
                    continue
                entries.append(_Entry(placed, place, "keep", keep, modality, keep, True, policy))
    rows = list(_measure(runner, entries, {}, progress))
    comparison = _write(runner, folder, rows, skipped)
    if mlflow:
        _log(evaluator, name, runs, mlflow_uri, entries, rows, comparison)
    return comparison


def _places(
    mechanism: str, modality: Modality, evaluator: ModelEvaluator
) -> Iterator[tuple[str, Location, int | None]]:
    """(mechanism, location, layer) of every place, in the order of computation."""
    cls = MECHANISMS[mechanism]
    offered = evaluator.locations.get(modality, ())
    if "input" in offered:
        yield "downsample", "input", None
    if modality not in cls.modalities:
        return
    if "encoder" in cls.locations and "encoder" in offered:
        for block in range(evaluator.depths.encoder[modality]):
            yield mechanism, "encoder", block
    if "projector" in cls.locations and "projector" in offered:
        yield mechanism, "projector", None
    if "decoder" in cls.locations and "decoder" in offered:
        for layer in range(1, evaluator.depths.decoder):
            yield mechanism, "decoder", layer


def _measure(
    runner: _Runner,
    entries: Sequence[_Entry],
    randoms: Mapping[tuple[str, float, str], Policy],
    progress: Report | None,
) -> Iterator[Row]:
    for i, entry in enumerate(entries):
        row = runner.row(entry, randoms.get((entry.match, entry.target, entry.modality)))
        if progress is not None:
            below = f"{row.preset} {row.modality} {row.match} {row.target:g}: accuracy {row.accuracy[0]:.3f}"
            progress(i + 1, len(entries), below)
        yield row


def _write(
    runner: _Runner, folder: Path, rows: Sequence[Row], skipped: Sequence[tuple[str, str, str, str]]
) -> Comparison:
    uncompressed: dict[str, Interval] = {m: runner.results(UNCOMPRESSED, m).accuracy()[m] for m in runner.modalities}
    files = [folder / "compare.md", folder / "compare.csv", folder / "compare.json"]
    files[0].write_text(markdown(rows, uncompressed, skipped), encoding="utf-8")
    with files[1].open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        flat = [_flat(row) for row in rows]
        writer.writerow(flat[0] if flat else ["preset"])
        writer.writerows(line.values() for line in flat)
    for modality in runner.modalities:
        mine = [row for row in rows if row.modality == modality]
        if mine:
            path = folder / f"{modality}.png"
            files.append(curves_png(modality, _curves(mine), uncompressed[modality], runner.split, path))
    comparison = Comparison(folder, tuple(rows), uncompressed, tuple(skipped), tuple(files))
    files[2].write_text(json.dumps(comparison.to_json(), indent=1), encoding="utf-8")
    return comparison


def _curves(rows: Sequence[Row]) -> list[Curve]:
    """Points of each preset, or of each place, by rising cost."""
    by_place = rows[0].match == "keep"
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row.place if by_place else row.preset, []).append(row)
    curves = []
    for name, mine in out.items():
        points = sorted((row.flops_ratio, row.accuracy[0]) for row in mine)
        group = mine[0].place.split("[")[0] if by_place else PRESETS[name].family
        curves.append(Curve(name, group, tuple(points)))
    return curves


def _flat(row: Row) -> dict[str, object]:
    """A row of the CSV: intervals as three columns each."""
    out: dict[str, object] = {}
    for key, value in asdict(row).items():
        if key == "tasks":
            out.update({f"task:{task}": scores["accuracy"][0] for task, scores in value.items()})
        elif key in ("accuracy", "against_uncompressed", "against_random"):
            mean, low, high = value or ("", "", "")
            out.update({key: mean, f"{key}_low": low, f"{key}_high": high})
        else:
            out[key] = value
    return out


def markdown(
    rows: Sequence[Row], uncompressed: Mapping[str, Interval], skipped: Sequence[tuple[str, str, str, str]]
) -> str:
    """One table for each target and modality, most accurate first; differences in points of accuracy."""
    blocks = []
    for match, target, modality in dict.fromkeys((row.match, row.target, row.modality) for row in rows):
        mine = [r for r in rows if (r.match, r.target, r.modality) == (match, target, modality)]
        mine.sort(key=lambda row: -row.accuracy[0])
        what = {"tokens": "language-model tokens", "cost": "FLOPs", "keep": "keep ratio"}[match]
        mean, low, high = uncompressed[modality]
        lines = [
            f"### {modality}, {what} {target:g}",
            "",
            f"Uncompressed {mean:.3f} [{low:.3f}, {high:.3f}].",
            "",
            "| preset | at | keep | FLOPs | LM tokens | accuracy | against uncompressed | against random | KV bytes |"
            " prefill ms | time ratio | scoring: FLOPs | scoring: time |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in mine:
            cells = [
                row.preset,
                row.place,
                f"{row.keep:.3f}",
                f"{row.flops_ratio:.3f}" + ("" if row.met else " (nearest)"),
                f"{row.lm_tokens:.3f}",
                f"{row.accuracy[0]:.3f}",
                _points(row.against_uncompressed),
                _points(row.against_random),
                f"{row.kv_bytes:.3g}",
                f"{row.prefill_ms:.2f}",
                f"{row.prefill_ratio:.2f}",
                f"{100 * row.scoring_share:.1f}%",
                f"{100 * row.scoring_time_share:.1f}%",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    if skipped:
        lines = ["### Not measured", "", "| preset | modality | target | why |", "|---|---|---|---|"]
        blocks.append("\n".join(lines + ["| " + " | ".join(entry) + " |" for entry in skipped]))
    if rows and rows[0].match != "keep":
        blocks.insert(0, summary(rows, uncompressed))
    return "\n\n".join(blocks) + "\n"


def summary(rows: Sequence[Row], uncompressed: Mapping[str, Interval]) -> str:
    """A table for each modality: a line for each preset, a column for each target, points lost against uncompressed.

    In italics where the 95% interval of the difference to ``random`` does not lie above zero; ``~`` marks a target that
    was not met within 0.01; empty where the target lies below what the preset can reach.
    """
    blocks = []
    for modality in dict.fromkeys(row.modality for row in rows):
        mine = [row for row in rows if row.modality == modality]
        columns = sorted({(row.match, row.target) for row in mine}, key=lambda c: (c[0] == "cost", -c[1]))
        cells = {(row.preset, row.match, row.target): row for row in mine}
        titles = [f"{'tokens' if match == 'tokens' else 'FLOPs'} {target:g}" for match, target in columns]
        mean, low, high = (100 * x for x in uncompressed[modality])
        lines = [
            f"**{modality}**, uncompressed {mean:.1f}% [{low:.1f}, {high:.1f}]; points lost:",
            "",
            "| preset | at | " + " | ".join(titles) + " |",
            "|---|---|" + "---|" * len(columns),
        ]
        for name in dict.fromkeys(row.preset for row in mine):
            line = [f"`{name}`", next(row.place for row in mine if row.preset == name)]
            for column in columns:
                row = cells.get((name, *column))
                if row is None:
                    line.append("")
                    continue
                text = f"{100 * row.against_uncompressed[0]:+.1f}" + ("" if row.met else "~")
                beaten = row.against_random is None or row.against_random[1] > 0 or name == "random"
                line.append(text if beaten else f"*{text}*")
            lines.append("| " + " | ".join(line) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _points(value: Interval | None) -> str:
    return "" if value is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in value))


def _log(
    evaluator: ModelEvaluator,
    name: str,
    runs: str | Path,
    uri: str | None,
    entries: Sequence[_Entry],
    rows: Sequence[Row],
    comparison: Comparison,
) -> None:
    """One parent run, a nested run for each row."""
    params = {"kind": "compare", "architecture": evaluator.model.architecture, "seed": evaluator.seed}
    with Tracker(name, root=runs, uri=uri, params=params) as tracker:
        for i, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            metrics = {
                "accuracy": row.accuracy[0],
                "against_uncompressed": row.against_uncompressed[0],
                "flops_ratio": row.flops_ratio,
                "lm_tokens": row.lm_tokens,
                "kv_bytes": row.kv_bytes,
                "prefill_ms": row.prefill_ms,
                "scoring_share": row.scoring_share,
            }
            more = {"preset": row.preset, "match": f"{row.match} {row.target:g}", "modality": row.modality}
            tracker.trial(i, entry.policy, metrics=metrics, params=more)
        table = [
            {"preset": r.preset, "modality": r.modality, "match": f"{r.match} {r.target:g}", "accuracy": r.accuracy[0],
             "flops_ratio": r.flops_ratio, "lm_tokens": r.lm_tokens}
            for r in rows
        ]  # fmt: skip
        tracker.finish(metrics={"rows": float(len(rows))}, front=table, artefacts=comparison.files)
