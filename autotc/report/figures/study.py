"""The figures of a study as inline SVG: fronts, the exported policy, keep ratios by place, progress, importances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from autotc.pareto import knee, pareto_front
from autotc.policy import Stage
from autotc.records.account import StudyAccount, Tested, Tried
from autotc.report.figures.svg import Mark, Scale, axes, interval_bar, line, mark, path, svg, text
from autotc.report.tables import interval
from autotc.statistics import Interval

_SHAPES = {"found": "circle", "preset": "diamond", "control": "cross"}
_SIZE = (760, 430)
_SMALL = (420, 300)
_BAND = 54


def stage_words(stage: Stage) -> str:
    """A stage without its modality: ``projector divprune 0.25``."""
    return stage.label().removeprefix(f"{stage.modality} ")


def front_svg(account: StudyAccount, modality: str | None = None) -> Markup:
    """Accuracy against FLOPs on the search split, of all samples or of one modality's.

    Args:
        account: of the study.
        modality: group of samples; None for all, with what was measured of the front on the test split.
    """
    points = [(_values(one, modality), one) for one in account.tried]
    known = [(cost, value, one) for (cost, value), one in points if value is not None]
    width, height = _SIZE if modality is None else _SMALL
    usual = account.uncompressed if modality is None else account.baseline.get(modality)
    values = [value for _, value, _ in known] + ([] if usual is None else [usual.low, usual.high])
    x = Scale(0, 1.05, 58, width - 12)
    y = Scale(max(0.0, min(values, default=0) - 0.04), min(1.0, max(values, default=1) + 0.04), height - 46, 12)
    parts = axes(x, y, ("FLOPs ratio (prefill, compressed / uncompressed)", "accuracy"))
    front = pareto_front(known, cost=lambda row: row[0], value=lambda row: row[1])
    limit = account.budget.get("prefill FLOPs" if modality is None else f"FLOPs of {modality}")
    if limit is not None:
        parts += [
            line(x(limit), y.start, x(limit), y.end, "budget"),
            text(x(limit) + 4, 24, "budget", "start", "budget"),
        ]
    ends = [(max(front[-1][0], limit or 0.0), front[-1][1])] if front else []
    parts.append(
        path([(x(cost), y(value)) for cost, value in [*((c, v) for c, v, _ in front), *ends]], "front", steps=True)
    )
    if usual is not None:
        parts += [
            line(x.start, y(usual.mean), x.end, y(usual.mean), "usual"),
            interval_bar(x(1), usual.low, usual.high, y, "bar"),
        ]
        parts.append(mark(Mark(1, usual.mean, "star", "usual", ("uncompressed", f"accuracy {interval(usual)}")), x, y))
    bent = knee([(cost, value) for cost, value, _ in front])
    tested = {row.trial: row for row in account.tested}
    for cost, value, one in known:
        at_knee = bent is not None and (cost, value) == bent
        parts.append(mark(_mark(one, cost, value, tested.get(one.trial), knee=at_knee), x, y))
    what = f"Accuracy against FLOPs{'' if modality is None else f' of {modality}'}: {len(known)} policies"
    return svg(width, height, what, parts)


def _values(one: Tried, modality: str | None) -> tuple[float, float | None]:
    if modality is None:
        return one.flops_ratio, one.accuracy
    return one.flops_ratio_by.get(modality, 1.0), one.accuracy_by.get(modality)


def _mark(one: Tried, cost: float, value: float, tested: Tested | None, *, knee: bool) -> Mark:
    kind = {"found": "found by the search", "preset": "preset", "control": "control"}[one.kind]
    lines = [f"trial {one.trial}, {kind}" + (", knee of the front" if knee else "")]
    lines += [stage.label() for stage in one.stages] or ["no stage"]
    lines += [f"accuracy {value:.3f} on search", f"FLOPs ratio {cost:.3f}"]
    if tested is not None:
        lines.append(f"accuracy {interval(tested.overall)} on test")
        lines += ["exported"] if tested.chosen else []
    lines.append("tokens " + ", ".join(f"{name} {count:.0f}" for name, count in one.tokens.items()))
    classes = f"{one.family} {one.kind}" + (" knee" if knee else "")
    return Mark(cost, value, _SHAPES[one.kind], classes, lines, ring=tested is not None and tested.chosen)


def policy_svg(account: StudyAccount, stages: Sequence[Stage]) -> Markup:
    """How a policy thins each modality's tokens from place to place: a band a modality, as wide as what is left."""
    modalities = [name for name in account.usual_tokens if name in ("image", "video", "audio")]
    places = ["input", "tower", "projector", "decoder", "end"]
    width, left = 760, 70
    column = (width - left - 60) / 4
    parts = [text(left + column * i + (column / 2), 16, place, classes="name") for i, place in enumerate(places[:-1])]
    for row, modality in enumerate(modalities):
        middle = 52 + row * (_BAND + 26)
        parts.append(text(8, middle + 4, modality, "start", "name"))
        parts += _band(account, stages, modality, middle, Scale(0, 4, left, left + 4 * column))
    height = 52 + len(modalities) * (_BAND + 26)
    return svg(width, height, "Tokens that are left from the input to the last layer", parts)


def _band(account: StudyAccount, stages: Sequence[Stage], modality: str, middle: float, x: Scale) -> Iterator[Markup]:
    """A modality's band: it narrows where a stage acts; a mark there says what the stage is."""
    depth = {"encoder": account.layers.get(modality, 1), "decoder": account.layers.get("decoder", 1)}
    first = {"input": 0.5, "encoder": 1.0, "projector": 2.5, "decoder": 3.0}
    corners, now = [(x(0), 1.0)], 1.0
    marks = []
    for stage in stages:
        if stage.modality != modality:
            continue
        for layer, ratio in stage.steps():
            share = 0.5 if layer is None else (layer + 0.5) / max(1, depth[stage.location])
            at = x(first[stage.location] + (0 if layer is None else share))
            corners += [(at, now), (at, min(now, ratio))]
            now = min(now, ratio)
            where = stage.location if layer is None else f"{stage.location} {layer}"
            marks.append((at, now, f"{where}: {stage.mechanism}, {ratio:g} of the tokens left"))
    corners.append((x(4), now))
    upper = [(at, round(middle - share * _BAND / 2, 1)) for at, share in corners]
    lower = [(at, round(middle + share * _BAND / 2, 1)) for at, share in reversed(corners)]
    shape = "M" + "L".join(f"{a} {b}" for a, b in [*upper, *lower]) + "Z"
    yield Markup('<path d="{}" class="band {}"/>').format(shape, modality)
    for at, share, told in marks:
        y = Scale(0, 1, middle, middle)
        yield line(at, middle - _BAND / 2, at, middle + _BAND / 2, "cut")
        yield mark(Mark(at, 0, "diamond", "stage", (told,)), Scale(at, at + 1, at, at + 1), y)
        del share
    count = account.usual_tokens[modality]
    yield text(x(4) + 8, middle + 4, f"{count * now:.0f} of {count:.0f}", "start", "tick")


def layers_svg(account: StudyAccount, modality: str) -> Markup:
    """Share of a modality's tokens that is left at each place, a line for each policy of the front, cheapest first."""
    front = [(row.flops_ratio, row.stages) for row in account.tested]
    front = front or [(one.flops_ratio, one.stages) for one in account.tried if one.front]
    rows = [(cost, account.left(stages, modality)) for cost, stages in sorted(front, key=lambda row: row[0])]
    places = list(rows[0][1]) if rows else []
    left, top, height = 70, 74, 22
    width = 760
    column = (width - left - 10) / max(1, len(places))
    parts = [
        Markup('<text class="tick" text-anchor="start" transform="translate({} {}) rotate(-55)">{}</text>').format(
            round(left + column * (i + 0.5), 1), top - 6, place
        )
        for i, place in enumerate(places)
    ]
    for number, (cost, ratios) in enumerate(rows):
        y = top + number * height
        parts.append(text(left - 8, y + 15, f"{cost:.3f}", "end", "tick"))
        for i, (place, ratio) in enumerate(ratios.items()):
            told = f"{place}: {ratio:.2f} of the {modality} tokens left\nFLOPs ratio {cost:.3f}"
            parts.append(
                Markup(
                    '<rect x="{}" y="{}" width="{}" height="{}" class="cell" style="fill-opacity:{}" data-tip="{}"/>'
                ).format(round(left + column * i, 1), y, round(column - 1, 1), height - 1, round(ratio, 3), told)
            )
    what = f"Share of the {modality} tokens left at each place, by policy of the front"
    return svg(width, top + len(rows) * height + 6, what, parts)


def progress_svg(account: StudyAccount, over: str) -> Markup:
    """Hypervolume of the front over ``trials`` or over ``forwards``."""
    width, height = _SMALL
    counts = [getattr(point, over) for point in account.progress]
    values = [point.hypervolume for point in account.progress]
    x = Scale(0, max(counts, default=1) or 1, 62, width - 12)
    y = Scale(min(values, default=0), max(values, default=1), height - 46, 12)
    names = {"trials": "policies run", "forwards": "samples run"}
    parts = axes(x, y, (names[over], "hypervolume"), digits=3)
    parts.append(path([(x(count), y(value)) for count, value in zip(counts, values, strict=True)], "front", steps=True))
    return svg(width, height, f"Hypervolume over {names[over]}", parts)


def bars_svg(values: Mapping[str, float], label: str) -> Markup:
    """Shares as horizontal bars, largest first."""
    rows = sorted(values.items(), key=lambda item: -item[1])
    parts = []
    x = Scale(0, max(values.values(), default=1.0), 300, 690)
    for i, (name, value) in enumerate(rows):
        y = 8 + i * 26
        parts.append(text(292, y + 14, name, "end", "tick"))
        width = max(1.0, x(value) - x.start)
        parts.append(Markup('<rect x="300" y="{}" width="{}" height="18" class="share"/>').format(y, round(width, 1)))
        parts.append(text(306 + width, y + 14, f"{value:.2f}", "start", "tick"))
    return svg(760, 12 + 26 * len(rows), label, parts)


def difference_svg(rows: Sequence[tuple[str, Interval]]) -> Markup:
    """Paired differences with their intervals, around a line at 0."""
    reach = max((max(abs(one.low), abs(one.high)) for _, one in rows), default=0.01)
    x = Scale(-reach * 1.1, reach * 1.1, 260, 740)
    height = 34 + 30 * len(rows)
    parts = [line(x(0), 6, x(0), height - 24, "usual")]
    parts += [text(x(value), height - 6, f"{value:+g}", classes="tick") for value in x.ticks(6)]
    for i, (name, one) in enumerate(rows):
        y = 20 + 30 * i
        parts.append(text(250, y + 4, name, "end", "tick"))
        parts += [line(x(one.low), y, x(one.high), y, "bar"), line(x(one.low), y - 5, x(one.low), y + 5, "bar")]
        parts.append(line(x(one.high), y - 5, x(one.high), y + 5, "bar"))
        told = f"{name}: {one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
        parts.append(mark(Mark(one.mean, 0, "circle", "found similarity", (told,)), x, Scale(0, 1, y, y)))
    return svg(760, height, "Paired differences in accuracy on the test split", parts)
