"""What a comparison leaves behind: tables and figures in its folder, and a run in MLflow."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autotc.compare.candidates import Candidate
from autotc.compare.settings import CompareSettings
from autotc.evaluate.base import ObservableEvaluator
from autotc.files import replacing, write_text
from autotc.records.comparison import Comparison, ComparisonRow
from autotc.report.comparison import comparison_curves, comparison_text
from autotc.report.figures import curves_png
from autotc.tracking import optional_tracker


def write_files(comparison: Comparison) -> Comparison:
    """Write tables and figures into the comparison's folder; returns the comparison with their paths."""
    folder = comparison.folder
    table, sheet, document = folder / "compare.md", folder / "compare.csv", folder / "compare.json"
    write_text(table, comparison_text(comparison))
    _write_csv(sheet, [row.flat() for row in comparison.rows])
    files = [table, sheet, document]
    for modality, accuracy in comparison.uncompressed.items():
        rows = [row for row in comparison.rows if row.modality == modality]
        if rows:
            path = folder / f"{modality}.png"
            files.append(curves_png(modality, comparison_curves(rows), accuracy, comparison.split, path))
    comparison = replace(comparison, files=tuple(files))
    write_text(document, json.dumps(comparison.to_json(), indent=1))
    return comparison


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    # Modalities have tasks of their own, so that rows have different columns.
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["preset"]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def log(
    evaluator: ObservableEvaluator, settings: CompareSettings, candidates: Sequence[Candidate], comparison: Comparison
) -> None:
    """Log one parent run, and a nested run for each row."""
    params = {"kind": "compare", "architecture": evaluator.model.architecture, "seed": evaluator.seed}
    name = comparison.folder.name
    with optional_tracker(name, root=settings.runs, uri=settings.tracking_uri, params=params) as tracker:
        if tracker is None:
            return
        for number, (candidate, row) in enumerate(zip(candidates, comparison.rows, strict=True)):
            more = {"preset": row.preset, "match": f"{row.match} {row.target:g}", "modality": row.modality}
            tracker.trial(number, candidate.policy, metrics=_metrics(row), params=more)
        table = [
            {
                "preset": row.preset,
                "modality": row.modality,
                "match": f"{row.match} {row.target:g}",
                "accuracy": row.accuracy.mean,
                "flops_ratio": row.flops_ratio,
                "lm_tokens": row.lm_tokens,
            }
            for row in comparison.rows
        ]
        tracker.finish(metrics={"rows": float(len(table))}, front=table, artefacts=comparison.files)


def _metrics(row: ComparisonRow) -> dict[str, float]:
    return {
        "accuracy": row.accuracy.mean,
        "against_uncompressed": row.against_uncompressed.mean,
        "flops_ratio": row.flops_ratio,
        "lm_tokens": row.lm_tokens,
        "kv_bytes": row.kv_bytes,
        "prefill_ms": row.prefill_ms,
        "scoring_share": row.scoring_share,
    }
