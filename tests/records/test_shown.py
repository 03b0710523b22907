"""What measurements return can be put into a table and shown in a notebook, whatever names stand in it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotc.compare.record import write_files
from autotc.deployment import export
from autotc.errors import one_line
from autotc.placement import Placement
from autotc.policy import ModelReference, Policy, Stage
from autotc.records.bench import Bench, BenchRow, SideMeasurement
from autotc.records.check import CheckReport, Finding, junit_error
from autotc.records.comparison import Comparison, ComparisonRow, Skipped
from autotc.records.interaction import Conflicts, Interaction, InteractionRow, Pair, Prediction, effect, points
from autotc.records.shown import MediumView, Panel, StageOutcome, TokenGrid
from autotc.report.bench import bench_text
from autotc.report.check import check_text
from autotc.report.comparison import comparison_curves, comparison_text, summary
from autotc.report.conflicts import conflicts_text, heatmap_panels
from autotc.report.figures import media_png
from autotc.statistics import Interval
from autotc.tabular import frame, html_table

HALF = Interval(0.5, 0.4, 0.6)
LOSS = Interval(-0.1, -0.2, -0.05)


def bench() -> Bench:
    side = SideMeasurement(10.0, 12.0, 1.5, 2**20, 2**10, (96, 96, 24), 1e9)
    row = BenchRow("image 64", 1, 100, side, side, Interval(1.5, 1.4, 1.6), 2.0, 1.0, ())
    device = {"name": "a <fast> one", "threads": 1, "dtype": "float32", "torch": "2"}
    return Bench("x.yaml", "image projector divprune 0.5", device, (row,))


def comparison() -> Comparison:
    row = ComparisonRow(
        preset="divprune",
        place="projector",
        match="tokens",
        target=0.25,
        modality="image",
        keep=0.25,
        met=True,
        flops_ratio=0.4,
        lm_tokens=0.25,
        kv_bytes=1e6,
        accuracy=HALF,
        against_uncompressed=LOSS,
        against_random=Interval(0.2, 0.1, 0.3),
        tasks={"digits": {"accuracy": HALF, "against_uncompressed": LOSS, "against_random": None}},
        prefill_ms=1.0,
        prefill_ratio=0.5,
        scoring_share=0.01,
        scoring_time_share=0.02,
        policy="0123",
    )
    skipped = Skipped("fastv", "image", "cost 0.1", "below its floor")
    return Comparison(Path("runs/compare"), "test", (row,), {"image": Interval(0.6, 0.5, 0.7)}, (skipped,))


def conflicts() -> Conflicts:
    pair = Pair(Placement("divprune", "projector"), Placement("fastv", "decoder", 2), "image", (0.5, 0.25))
    measured = Interaction(
        pair=pair,
        interaction=LOSS,
        additive=HALF,
        accuracy={"stack": 0.4, "first": 0.5, "first_own": 0.6, "second_own": 0.5, "none": 0.7},
        flops_ratio={"stack": 0.4, "first": 0.4, "second": 0.5},
        reached=("first",),
        ratios={"first": 0.2, "second": 0.1},
        samples=100,
    )
    return Conflicts(Path("runs/conflicts/x"), (InteractionRow(measured, Prediction(0.7, {}, "it moves <far>")),), ())


def report() -> CheckReport:
    return CheckReport("x.yaml", (Finding("accuracy <image>", "0.9", "0.5", "fail"),))


@pytest.mark.parametrize("record", [bench(), comparison(), conflicts(), report()], ids=lambda r: type(r).__name__)
def test_a_record_is_a_table(record: Any) -> None:
    assert len(record.to_pandas()) == 1
    html = record._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")
    assert "<fast>" not in html
    assert "<image>" not in html


def test_records_are_told_in_text() -> None:
    assert "a <fast> one, 1 threads, float32" in bench_text(bench())
    assert "96 x 2, 24 x 1" in bench_text(bench())
    text = comparison_text(comparison())
    assert text.startswith(summary(comparison()))
    assert "| divprune | projector | 0.250 | 0.400 | 0.250 | 0.500 | -10.0 [-20.0, -5.0] | +20.0" in text
    assert "| fastv | image | cost 0.1 | below its floor |" in text
    (curve,) = comparison_curves(comparison().rows)
    assert (curve.name, curve.group, curve.points) == ("divprune", "similarity", ((0.4, 0.5),))
    told = conflicts_text(conflicts())
    assert "worst: image divprune@projector:0.5 + fastv@decoder[2]:0.25 loses: -10.0 points [-20.0, -5.0]" in told
    assert "best: " not in told
    (panel,) = heatmap_panels([row.measured for row in conflicts().rows])
    assert panel == "image, keep 0.5 then 0.25"
    assert check_text(report()).endswith("check FAILED: accuracy <image>")


def test_named_fields() -> None:
    row = conflicts().rows[0].measured
    assert (row.effect, row.better, row.worse) == ("conflict", "first", "second")
    assert effect(Interval(0.1, 0.0, 0.2)) == "neutral"
    assert points(LOSS, " points") == "-10.0 points [-20.0, -5.0]"
    assert bench().rows[0].realised == pytest.approx(0.5)
    assert bench().rows[0].scoring_share == pytest.approx(0.1)
    assert comparison().to_json()["skipped"][0]["why"] == "below its floor"
    assert '<error message="no such file"' in junit_error("x.yaml", "no such file")


def test_an_export_is_a_table() -> None:
    stage = Stage(modality="video", location="projector", mechanism="evs", keep_ratio=0.25)
    model = ModelReference(architecture="NemotronH_Nano_VL_V2")
    exported = export(Policy.of([stage], model), "vllm-built-in", measure=False)
    assert exported.plan.expressible
    assert exported.flops is None
    assert len(exported.to_pandas()) == 0
    assert "vLLM" in exported._repr_html_()


def test_tables_without_rows() -> None:
    assert list(frame([], ("a", "b")).columns) == ["a", "b"]
    assert html_table([]) == "<table><thead><tr></tr></thead><tbody></tbody></table>"
    assert "<td>1.235</td><td></td>" in html_table([{"a": 1.23456, "b": None}], "a & b")


def test_rows_of_different_tasks_share_a_sheet(tmp_path: Path) -> None:
    """Every score stands under its own task."""
    image = comparison()
    tasks = {"clips": {"accuracy": HALF, "against_uncompressed": LOSS, "against_random": None}}
    video = replace(image.rows[0], modality="video", tasks=tasks)
    both = replace(image, folder=tmp_path, rows=(*image.rows, video), uncompressed={"image": HALF, "video": HALF})
    write_files(both)
    with (tmp_path / "compare.csv").open(encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert (first["task:digits"], first["task:clips"]) == ("0.5", "")
    assert (second["task:digits"], second["task:clips"]) == ("", "0.5")
    assert first["policy"] == second["policy"] == "0123"


def test_what_a_cell_holds_does_not_break_its_table() -> None:
    odd = Skipped("fastv", "image", "cost 0.1", "a | b\nc")
    text = comparison_text(replace(comparison(), skipped=(odd,)))
    assert text.splitlines()[-1] == r"| fastv | image | cost 0.1 | a \| b c |"


@pytest.mark.parametrize("prompt", ["what costs $5 or $6^?", r"$\frac{1", "a\x00b", "\u202e" + "x" * 999])
def test_a_prompt_of_any_signs_can_be_drawn(prompt: str, tmp_path: Path) -> None:
    n = 4
    boxes = np.array([[0, 1, y, y + 0.5, x, x + 0.5] for y in (0, 0.5) for x in (0, 0.5)])
    grid = TokenGrid(boxes, np.zeros(n, dtype=np.int64), (Panel(""),))
    stage = StageOutcome("uncompressed", None, grid, np.arange(n), np.ones(n, dtype=bool))
    medium = MediumView("image", (0, 8, 8), (stage,), np.zeros((8, 8, 3), dtype=np.uint8))
    path = media_png(f"image: conflict\n{one_line(prompt, 120)}", [medium], tmp_path / "x.png")
    assert path.stat().st_size > 500
