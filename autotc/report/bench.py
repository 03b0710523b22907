"""What `autotc bench` prints: times and memory, or what a calibration found."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.records.bench import Bench, BenchRow, LatencyCalibration, SideMeasurement
from autotc.report.tables import table

_SIDES = (
    "request",
    "batch",
    "",
    "prefill ms",
    "first token ms",
    "ms a token",
    "peak MiB",
    "KV MiB",
    "GFLOPs",
    "tokens by layer",
)
_GAINS = ("request", "batch", "speed-up", "95%", "predicted", "realised", "scoring ms", "of prefill")


def bench_text(bench: Bench) -> str:
    """What was measured and where; times and memory under the policy beside the uncompressed model's."""
    device = bench.device
    where = f"{device['name']}, {device['threads']} threads, {device['dtype']}"
    sides = [
        _side(row, name, side)
        for row in bench.rows
        for name, side in (("policy", row.policy), ("uncompressed", row.baseline))
    ]
    gains = table(_GAINS, [_gain(row) for row in bench.rows])
    return f"{bench.label}\non {where}\n\n{table(_SIDES, sides)}\n\n{gains}"


def _side(row: BenchRow, name: str, side: SideMeasurement) -> list[object]:
    return [
        row.case,
        row.batch,
        name,
        f"{side.prefill_ms:.1f}",
        f"{side.first_token_ms:.1f}",
        f"{side.output_token_ms:.2f}",
        f"{side.peak_bytes / 2**20:.2f}",
        f"{side.kv_bytes / 2**20:.2f}",
        f"{side.flops / 1e9:.2f}",
        _runs(side.layer_tokens),
    ]


def _gain(row: BenchRow) -> list[object]:
    return [
        row.case,
        row.batch,
        f"{row.speedup.mean:.2f}",
        f"[{row.speedup.low:.2f}, {row.speedup.high:.2f}]",
        f"{row.predicted_speedup:.2f}",
        "-" if row.realised is None else f"{row.realised:.2f}",
        f"{row.scoring_ms:.2f}",
        f"{100 * row.scoring_share:.1f}%",
    ]


def _runs(lengths: Sequence[int]) -> str:
    """Tokens of successive layers, equal ones joined: ``96 x 2, 24 x 4``."""
    out: list[list[int]] = []
    for length in lengths:
        if out and out[-1][0] == length:
            out[-1][1] += 1
        else:
            out.append([length, 1])
    return ", ".join(f"{length} x {count}" for length, count in out)


def calibration_text(calibration: LatencyCalibration) -> str:
    """Predictions of policies that the fit did not see, and how far off they are."""
    latency = calibration.latency
    rows = [
        [row.case, f"{row.measured:.2f}", f"{row.predicted:.2f}", f"{100 * row.error:+.1f}%", row.policy]
        for row in latency.held_out
    ]
    median, worst = latency.errors()
    device = latency.device
    summary = (
        f"prefill on {device.name}, {device.threads} threads, {device.dtype}: predictions of policies that the fit did"
        f" not see are off by {100 * median:.1f}% in the median, {100 * worst:.1f}% at most"
    )
    shown = table(["request", "measured ms", "predicted ms", "error", "policy"], rows)
    return f"{shown}\n\n{summary}"
