"""What `autotc eval` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotc.report.tables import interval, table


def eval_table(data: Mapping[str, Any]) -> str:
    """Accuracy by modality and task of an evaluation's JSON."""
    rows: list[list[object]] = [
        [name, interval(value), "-", data["samples"].get(name, "-")] for name, value in data["accuracy"].items()
    ]
    for name, value in data["tasks"].items():
        chance = data["chance"].get(name)
        rows.append([f"  {name}", interval(value), "-" if chance is None else f"{chance:.3f}", "-"])
    spread = data.get("flops_spread")
    single = []
    if spread is not None and spread[0] < spread[-1]:
        named = zip(("lowest", "10%", "median", "90%", "highest"), spread, strict=True)
        single = ["  of single samples: " + ", ".join(f"{name} {ratio:.4f}" for name, ratio in named)]
    tokens = ", ".join(f"{name} {count:.1f}" for name, count in data["tokens"].items()) or "none"
    return "\n".join(
        [
            table(["accuracy", "mean, 95% interval", "chance", "samples"], rows),
            "",
            f"FLOPs ratio {data['flops_ratio']:.4f} ({data['flops']:.4g} FLOPs of prefill a sample)",
            *single,
            f"tokens an item at the last layer: {tokens}",
        ]
    )
