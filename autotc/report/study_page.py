"""A study as one page that travels, as a small page of its front, and as Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, cast

from autotc.errors import missing_dependency
from autotc.records.account import StudyAccount
from autotc.report.figures import COLORS
from autotc.report.figures.study import (
    bars_svg,
    difference_svg,
    front_svg,
    layers_svg,
    policy_svg,
    progress_svg,
)
from autotc.report.search import worth_lines
from autotc.report.tables import interval, markdown_table, markdown_text, signed
from autotc.report.tradeoffs import at_locations, pairs
from autotc.statistics import Interval

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_IMPORTANCES = 8


def study_html(account: StudyAccount) -> str:
    """One self-contained page of a study: no request leaves it.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    environment = _environment()
    chosen = account.chosen
    modalities = [name for name in account.usual_tokens if any(name in one.accuracy_by for one in account.tried)]
    rivals = [(f"{rival['kind']}: {name}", value) for rival in _rivals(account) for name, value in _differences(rival)]
    important = sorted(account.importances.items(), key=lambda item: -item[1])[:MOST_IMPORTANCES]
    return environment.get_template("study.html.j2").render(
        account=account,
        chosen=chosen,
        answer=answer(account),
        front=front_svg(account),
        families=_families(account),
        by_modality=[(name, front_svg(account, name)) for name in modalities] if len(modalities) > 1 else [],
        drawn=None if chosen is None else policy_svg(account, chosen.stages),
        worth=[] if account.worth is None else worth_lines(account.worth),
        rivals=difference_svg(rivals) if rivals else None,
        places=[(name, row) for name in modalities for row in at_locations(account, name)],
        stacked=[(name, found) for name in modalities if (found := pairs(account, name)).cells],
        layers=[(name, layers_svg(account, name)) for name in account.usual_tokens],
        over_trials=progress_svg(account, "trials"),
        over_forwards=progress_svg(account, "forwards") if any(p.forwards for p in account.progress) else None,
        importances=bars_svg(dict(important), "Importances") if important else None,
        broke=sum(sample.change < 0 for sample in account.changed),
        healed=sum(sample.change > 0 for sample in account.changed),
        limits=limits(account),
        commands=commands(account),
        interval=interval,
        signed=signed,
    )


def front_html(account: StudyAccount) -> str:
    """A small page of the front alone, for a frame of 500 pixels."""
    environment = _environment()
    template = environment.get_template("front.html.j2")
    return template.render(account=account, front=front_svg(account), families=_families(account))


def study_markdown(account: StudyAccount) -> str:
    """A study for a pull request: the answer, what it was worth, the front as a table."""
    lines = [f"### {markdown_text(account.study)}", "", markdown_text(answer(account)), ""]
    lines += [f"- {markdown_text(line)}" for line in ([] if account.worth is None else worth_lines(account.worth))]
    if account.tested:
        rows = [
            [
                f"{row.flops_ratio:.3f}",
                interval(row.overall),
                signed(row.difference),
                "; ".join(stage.label() for stage in row.stages),
                "exported" if row.chosen else "",
            ]
            for row in account.tested
        ]
        headers = ["FLOPs", "accuracy on test", "against uncompressed", "stages", ""]
    else:
        rows = [
            [f"{one.flops_ratio:.3f}", f"{one.accuracy:.3f}", "; ".join(stage.label() for stage in one.stages)]
            for one in account.tried
            if one.front
        ]
        headers = ["FLOPs", "accuracy on search", "stages"]
    lines += ["", markdown_table(headers, rows), "", *(f"- {markdown_text(limit)}" for limit in limits(account)), ""]
    return "\n".join(lines)


def answer(account: StudyAccount) -> str:
    """What a study found, in a sentence."""
    chosen = account.chosen
    if chosen is None:
        front = [one for one in account.tried if one.front]
        if not front:
            return "No policy has run on the whole search split yet."
        best = max(front, key=lambda one: one.accuracy)
        return (
            f"So far, the best policy keeps {best.flops_ratio:.0%} of the prefill FLOPs at an accuracy of"
            f" {best.accuracy:.3f} on the search split."
        )
    low, high = chosen.difference.low, chosen.difference.high
    change = chosen.difference.mean
    if high < 0:
        lost = f"and loses {-change * 100:.1f} points of accuracy"
    elif low > 0:
        lost = f"and gains {change * 100:.1f} points of accuracy"
    else:
        lost = f"and is not shown to change accuracy ({change * 100:+.1f} points)"
    return (
        f"With {chosen.flops_ratio:.0%} of the prefill FLOPs, the exported policy keeps an accuracy of"
        f" {chosen.overall.mean:.3f} {lost} against the uncompressed model"
        f" (95%: {low * 100:+.1f} to {high * 100:+.1f})."
    )


def limits(account: StudyAccount) -> list[str]:
    """What the numbers rest on, and what was not measured."""
    out = [f"One model, {account.model}, one seed ({account.seed}), samples of {account.evaluator}."]
    for split, counts in account.samples.items():
        out.append(f"{split} split: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    out.append(
        "Intervals are 95%: Agresti and Coull's for accuracies, Bonett and Price's for paired differences; samples that"
        " share a picture, clip or document count as a cluster."
    )
    out.append("FLOPs are counted, not timed: autotc bench measures time and memory on your machine.")
    out.append(
        "Points of the front are of the search split, on which they were chosen; only the test table is free of it."
    )
    if account.versions:
        out.append("Versions: " + ", ".join(f"{name} {version}" for name, version in account.versions.items()))
    return out


def commands(account: StudyAccount) -> list[str]:
    """What to type next."""
    if account.policy is None:
        return [f"autotc search --resume {shlex.quote(account.study)}"]
    policy = shlex.quote(account.policy)
    return [
        f"autotc show {policy}",
        f"autotc check {policy}",
        f"autotc bench {policy}",
        f"autotc export {policy} --to vllm",
    ]


def _families(account: StudyAccount) -> list[str]:
    held = {one.family for one in account.tried}
    return [family for family in COLORS if family in held]


def _rivals(account: StudyAccount) -> list[Mapping[str, object]]:
    """Rivals that are not the exported policy itself."""
    rivals = [] if account.worth is None else cast("list[Mapping[str, object]]", account.worth["rivals"])
    return [rival for rival in rivals if not rival["same"]]


def _differences(rival: Mapping[str, object]) -> list[tuple[str, Interval]]:
    differences = cast("Mapping[str, list[float]]", rival["difference"])
    return [(name, Interval(*values)) for name, values in differences.items()]


@cache
def _environment() -> Environment:
    """Templates, with every text escaped; style and script stand in the page itself."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise missing_dependency(error) from error
    folder = resources.files("autotc.report") / "templates"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(style=Markup(read("style.css")), script=Markup(read("hover.js")))
    return environment
