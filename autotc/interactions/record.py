"""What measured interactions leave behind: JSON, table and figures in their folder, and a run in MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autotc.conflicts.calibration import Calibration
from autotc.evaluate.base import ObservableEvaluator
from autotc.files import write_text
from autotc.interactions.overlay import overlay
from autotc.interactions.settings import ConflictsSettings
from autotc.records.interaction import Conflicts, InteractionRow
from autotc.report.conflicts import conflicts_text, heatmap_panels
from autotc.report.figures import heatmap_png
from autotc.tracking import optional_tracker


def write_files(conflicts: Conflicts, calibration: Calibration) -> Conflicts:
    """Write everything into the folder; returns the record with the paths."""
    return replace(conflicts, files=tuple(_written(conflicts, calibration)))


def _written(conflicts: Conflicts, calibration: Calibration) -> Iterator[Path]:
    folder = conflicts.folder
    yield write_text(folder / "conflicts.json", json.dumps(conflicts.to_json(), indent=1))
    yield write_text(folder / "conflicts.txt", conflicts_text(conflicts) + "\n")
    ranked = conflicts.ranked()
    if not ranked:
        return
    panels = heatmap_panels([row.measured for row in conflicts.rows])
    yield heatmap_png("Interactions of stages", panels, folder / "conflicts.png")
    for kind, row in (("worst", ranked[0]), ("best", ranked[-1]))[: len(ranked)]:
        yield overlay(calibration, row, folder / f"{kind}.png")


def log(evaluator: ObservableEvaluator, settings: ConflictsSettings, conflicts: Conflicts) -> None:
    """Log one parent run, and a nested run for each pair."""
    params = {"kind": "conflicts", "architecture": evaluator.model.architecture, "seed": evaluator.seed}
    name = f"conflicts-{conflicts.folder.name}"
    with optional_tracker(name, root=settings.runs, uri=settings.tracking_uri, params=params) as tracker:
        if tracker is None:
            return
        for number, row in enumerate(conflicts.rows):
            pair = row.measured.pair
            more = {"first": pair.first.label, "second": pair.second.label, "verdict": row.measured.effect}
            tracker.trial(number, pair.stack(), metrics=_metrics(row), params=more)
        keys = ("modality", "first", "second", "predicted", "interaction", "verdict")
        effects = [row.measured.effect for row in conflicts.rows]
        tracker.finish(
            metrics={effect: float(effects.count(effect)) for effect in ("synergy", "neutral", "conflict")},
            front=[{key: row[key] for key in keys} for row in conflicts.to_json()],
            artefacts=conflicts.files,
        )


def _metrics(row: InteractionRow) -> dict[str, float]:
    measured = row.measured
    return {
        "interaction": measured.interaction.mean,
        "interaction_low": measured.interaction.low,
        "interaction_high": measured.interaction.high,
        "additive": measured.additive.mean,
        "predicted": row.prediction.score,
        "accuracy": measured.accuracy["stack"],
        "flops_ratio": measured.flops_ratio["stack"],
    }
