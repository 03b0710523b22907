"""What `autotc conflicts` prints and draws: pairs from the worst to the best, and the cells of a heatmap."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.records.interaction import Conflicts, Interaction, InteractionRow, points
from autotc.report.figures import HeatmapCell
from autotc.report.tables import table

_HEADERS = (
    "modality",
    "first",
    "second",
    "keep",
    "FLOPs",
    "stack",
    "better alone",
    "interaction",
    "verdict",
    "additive",
    "predicted",
)


def conflicts_text(conflicts: Conflicts) -> str:
    """The table, worst pair first, and the worst and the best in words."""
    ranked = conflicts.ranked()
    parts = [table(_HEADERS, [_cells(row) for row in ranked])]
    if ranked:
        parts.append(f"worst: {ranked[0].words()}")
    if len(ranked) > 1:
        parts.append(f"best: {ranked[-1].words()}")
    parts += [f"not measured: {skipped.label}: {skipped.why}" for skipped in conflicts.skipped]
    return "\n\n".join(parts)


def _cells(row: InteractionRow) -> list[str]:
    measured, pair = row.measured, row.measured.pair
    first, second = pair.keeps
    return [
        pair.modality,
        pair.first.label,
        pair.second.label,
        f"{first:g}, {second:g}",
        f"{measured.flops_ratio['stack']:.3f}",
        f"{100 * measured.accuracy['stack']:.1f}",
        f"{100 * measured.accuracy[measured.better]:.1f}",
        points(measured.interaction),
        measured.effect,
        points(measured.additive),
        f"{row.prediction.score:.2f}",
    ]


def heatmap_panels(measured: Sequence[Interaction]) -> dict[str, list[HeatmapCell]]:
    """Cells of the heatmap, a panel for each modality and setting of ratios."""
    panels: dict[str, list[HeatmapCell]] = {}
    for entry in measured:
        pair = entry.pair
        first, second = pair.keeps
        cell = HeatmapCell(
            first=pair.first.label,
            second=pair.second.label,
            points=100 * entry.interaction.mean,
            clear=entry.effect != "neutral",
        )
        panels.setdefault(f"{pair.modality}, keep {first:g} then {second:g}", []).append(cell)
    return panels
