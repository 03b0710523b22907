"""What `autotc compare` prints and draws: tables for people, and curves for figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotc.presets import PRESETS
from autotc.records.comparison import Comparison, ComparisonRow, Skipped
from autotc.records.interaction import points
from autotc.report.figures import Curve
from autotc.report.tables import interval, table
from autotc.statistics import Interval

_WHAT = {"tokens": "language-model tokens", "cost": "FLOPs", "keep": "keep ratio"}
_HEADERS = (
    "preset",
    "at",
    "keep",
    "FLOPs",
    "LM tokens",
    "accuracy",
    "against uncompressed",
    "against random",
    "KV bytes",
    "prefill ms",
    "time ratio",
    "scoring: FLOPs",
    "scoring: time",
)


def comparison_text(comparison: Comparison, *, markdown: bool = True) -> str:
    """A summary, one table for each target and modality, and what was not measured.

    Args:
        comparison: what was measured.
        markdown: in Markdown, as files hold it; aligned by blanks, as a terminal shows it, otherwise.
    """
    style = _MARKDOWN if markdown else _PLAIN
    rows = comparison.rows
    blocks = []
    if rows and rows[0].match != "keep":
        blocks.append(summary(comparison, markdown=markdown))
    for match, target, modality in dict.fromkeys((row.match, row.target, row.modality) for row in rows):
        matched = [row for row in rows if (row.match, row.target, row.modality) == (match, target, modality)]
        title = f"{modality}, {_WHAT[match]} {target:g}"
        blocks.append(_block(style, title, matched, comparison.uncompressed[modality]))
    if comparison.skipped:
        blocks.append(_skipped(style, comparison.skipped))
    return "\n\n".join(blocks) + "\n"


def _block(style: _Style, title: str, rows: Sequence[ComparisonRow], uncompressed: Interval) -> str:
    """One table, most accurate first; differences in points of accuracy."""
    ranked = sorted(rows, key=lambda row: -row.accuracy.mean)
    lines = [_cells(row) for row in ranked]
    return "\n".join(
        [style.title(title), "", f"Uncompressed {interval(uncompressed)}.", "", style.table(_HEADERS, lines)]
    )


def _cells(row: ComparisonRow) -> list[str]:
    return [
        row.preset,
        row.place,
        f"{row.keep:.3f}",
        f"{row.flops_ratio:.3f}" + ("" if row.met else " (nearest)"),
        f"{row.lm_tokens:.3f}",
        f"{row.accuracy.mean:.3f}",
        points(row.against_uncompressed),
        "" if row.against_random is None else points(row.against_random),
        f"{row.kv_bytes:.3g}",
        f"{row.prefill_ms:.2f}",
        f"{row.prefill_ratio:.2f}",
        f"{100 * row.scoring_share:.1f}%",
        f"{100 * row.scoring_time_share:.1f}%",
    ]


def _skipped(style: _Style, skipped: Sequence[Skipped]) -> str:
    lines = [[entry.preset, entry.modality, entry.target, entry.why] for entry in skipped]
    return "\n".join([style.title("Not measured"), "", style.table(("preset", "modality", "target", "why"), lines)])


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join([_line(headers), "|" + "---|" * len(headers), *(_line(row) for row in rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


@dataclass(frozen=True)
class _Style:
    """How titles, names and tables are written.

    Attributes:
        heading, bold, code: formats of a text.
        table: headers and rows as a table.
    """

    heading: str
    bold: str
    code: str
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str]

    def title(self, text: str) -> str:
        """A title."""
        return self.heading.format(text)


_MARKDOWN = _Style("### {}", "**{}**", "`{}`", _table)
_PLAIN = _Style("{}", "{}", "{}", table)


def summary(comparison: Comparison, *, markdown: bool = True) -> str:
    """A table for each modality: a line for each preset, a column for each target, points lost against uncompressed.

    Between ``*``, in Markdown in italics, where the 95% interval of the difference to ``random`` does not lie above
    zero; ``~`` marks a target that was not met within 0.01; empty where it lies below what the preset can reach.
    """
    style, blocks = _MARKDOWN if markdown else _PLAIN, []
    for modality in dict.fromkeys(row.modality for row in comparison.rows):
        rows = [row for row in comparison.rows if row.modality == modality]
        columns = sorted({(row.match, row.target) for row in rows}, key=lambda c: (c[0] == "cost", -c[1]))
        by_target = {(row.preset, row.match, row.target): row for row in rows}
        titles = [f"{'tokens' if match == 'tokens' else 'FLOPs'} {target:g}" for match, target in columns]
        lines = []
        for name in dict.fromkeys(row.preset for row in rows):
            place = next(row.place for row in rows if row.preset == name)
            lines.append(
                [style.code.format(name), place, *(_lost(by_target.get((name, *column))) for column in columns)]
            )
        mean, low, high = (100 * bound for bound in comparison.uncompressed[modality])
        title = f"{style.bold.format(modality)}, uncompressed {mean:.1f}% [{low:.1f}, {high:.1f}]; points lost:"
        blocks.append("\n".join([title, "", style.table(["preset", "at", *titles], lines)]))
    if not markdown:
        blocks.append("*x*: not clearly better than random selection; x~: the target was not met within 0.01")
    return "\n\n".join(blocks)


def _lost(row: ComparisonRow | None) -> str:
    """A cell of the summary."""
    if row is None:
        return ""
    text = f"{100 * row.against_uncompressed.mean:+.1f}" + ("" if row.met else "~")
    beats_random = row.against_random is None or row.against_random.low > 0 or row.preset == "random"
    return text if beats_random else f"*{text}*"


def comparison_curves(rows: Sequence[ComparisonRow]) -> list[Curve]:
    """Accuracy against cost of each preset, or of each place, by rising cost."""
    by_place = rows[0].match == "keep"
    grouped: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        grouped.setdefault(row.place if by_place else row.preset, []).append(row)
    curves = []
    for name, members in grouped.items():
        ordered = sorted((row.flops_ratio, row.accuracy.mean) for row in members)
        group = members[0].place.partition("[")[0] if by_place else PRESETS[name].family
        curves.append(Curve(name, group, tuple(ordered)))
    return curves
