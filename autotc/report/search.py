"""What a search prints: its front while it runs and when it ends, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotc.report.tables import duration, interval, signed, table

Document = Mapping[str, Any]
"""A part of a search's JSON."""


def front_table(points: Sequence[Document]) -> str:
    """The front: one line per policy with accuracy per modality, FLOPs ratio and tokens kept.

    Args:
        points: the ``front`` of a search's JSON; ``accuracy`` may hold intervals, ``tokens`` may be missing.
    """
    if not points:
        return "(no policy yet)"
    groups = list(dict.fromkeys(group for point in points for group in point["accuracy"]))
    headers = ["FLOPs", *groups, "tokens", "trial", "policy"]
    rows = []
    for point in points:
        scores = [point["accuracy"].get(group) for group in groups]
        shown = ["-" if s is None else interval(s) if isinstance(s, Sequence) else f"{s:.3f}" for s in scores]
        tokens = " ".join(f"{name}:{count:.0f}" for name, count in (point.get("tokens") or {}).items()) or "-"
        label = point.get("label") or point.get("policy") or "none"
        rows.append([f"{point['flops_ratio']:.3f}", *shown, tokens, point.get("trial", "-"), label])
    return table(headers, rows)


def _optimism(front: Sequence[Document]) -> list[str]:
    """What the exported policy loses between the split it was chosen on and the test split."""
    chosen = next(row for row in front if row["chosen"])
    if chosen.get("accuracy_search") is None:
        return []
    return [f"exported policy: {chosen['accuracy_search']:.3f} on search, {chosen['accuracy']:.3f} on test"]


def worth_lines(worth: Document) -> list[str]:
    """How the exported policy stands against the best preset and control, and the front's next points: a line each.

    Args:
        worth: of the search's JSON.
    """
    lines = [_rival_line(rival) for rival in worth["rivals"]]
    for point in worth["neighbours"]:
        change = signed(point["difference"])
        lines.append(f"next {point['side']} point, {point['flops_ratio']:.3f} of the FLOPs: {change} accuracy")
    sides = {point["side"] for point in worth["neighbours"]}
    if lines and "dearer" not in sides:
        lines.append("no dearer point within the budget is more accurate on search")
    return lines


def _rival_line(rival: Document) -> str:
    """The exported policy against one rival, in a sentence."""
    names = ", ".join(f"{modality} {name}" for modality, name in rival["names"].items())
    best = f"the best {rival['kind']} of each modality ({names})"
    if rival["same"]:
        return f"the exported policy is {best}: the search found nothing better"
    _, low, high = rival["difference"]["overall"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return (
        f"against {best} at {rival['flops_ratio']:.3f} of the FLOPs, paired:"
        f" {signed(rival['difference']['overall'])} overall, {verdict}"
    )


def _audit(audited: Mapping[str, int]) -> list[str]:
    """How many refusals of predicted conflicts were held against a run, and were right."""
    if not audited:
        return []
    return [f"predicted conflicts run all the same: {audited['run']}, of which {audited['right']} were right to refuse"]


def search_report(data: Document, *, options: str, home: str) -> str:
    """What a search ends with: front, floors, files, where MLflow's store is, and what to type next.

    Args:
        data: the search's JSON.
        options: of the data and the model, as given, for the commands to type.
        home: options that say where the studies live, as given, for the commands to type.
    """
    points = [{**row, "accuracy": row["accuracy_by"]} for row in data["front"]]
    marked = [
        {**row, "policy": row["policy"] + ("  <- exported" if row["chosen"] else ""), "label": None} for row in points
    ]
    lines = [
        f"front of {data['study']}, measured once on the test split (accuracy with 95% intervals, tokens an item)",
        "",
        front_table(marked),
        "",
        "uncompressed: " + ", ".join(f"{name} {interval(value)}" for name, value in data["uncompressed"].items()),
        *_totals(data),
        "",
        "floors: the lowest FLOPs ratio that each location can reach",
        "",
        _floors(data["floors"]),
        "",
        f"policy   {data['policy']}",
        *(f"figure   {path}" for path in data["figures"]),
        *([] if data["mlflow_uri"] is None else [store_line(data["mlflow_uri"])]),
        "",
        *_next_commands(data, options, home),
    ]
    return "\n".join(lines)


def _totals(data: Document) -> list[str]:
    """What the exported policy gains, and what the search ran."""
    lines = []
    chosen = next(row for row in data["front"] if row["chosen"])
    if "overall" in chosen["difference"]:
        lines.append(f"exported policy against uncompressed, paired: {signed(chosen['difference']['overall'])} overall")
    lines += worth_lines(data["worth"])
    refused = ", ".join(f"{rule} {count}" for rule, count in data["refused"].items()) or "none"
    return [
        *lines,
        f"trials: {data['trials']} feasible on all samples, {data['raced']} given up on part of them, {data['failed']}"
        f" failed; refused before they ran: {refused}",
        f"samples run: {data['forwards']:,}; spared by races and shared parts: {data['saved']:,}"
        + (f"; run to predict conflicts: {data['watched']:,}" if data["watched"] else ""),
        *_optimism(data["front"]),
        *_audit(data["audited"]),
        f"hypervolume {data['hypervolume']:.4f}, {duration(data['seconds'])} in all",
    ]


def _floors(floors: Mapping[str, float]) -> str:
    """A line for each modality, a column for each location; keys are ``modality/location``."""
    modalities = list(dict.fromkeys(key.partition("/")[0] for key in floors))
    locations = list(dict.fromkeys(key.partition("/")[2] for key in floors))
    ratios = [[floors.get(f"{name}/{location}") for location in locations] for name in modalities]
    rows = [
        [name, *("-" if ratio is None else f"{ratio:.3f}" for ratio in line)]
        for name, line in zip(modalities, ratios, strict=True)
    ]
    return table(["modality", *locations], rows)


def store_line(uri: str) -> str:
    """Where the record is, or what opens it: a store below this folder by its path from here."""
    if "://" not in uri or uri.startswith("http"):
        return f"MLflow   {uri}"
    scheme, _, path = uri.partition(":///")
    if path and Path(path).is_relative_to(Path.cwd()):
        uri = f"{scheme}:///{Path(path).relative_to(Path.cwd())}"
    return f"MLflow   mlflow ui --backend-store-uri {shlex.quote(uri)}"


def _next_commands(data: Document, options: str, home: str) -> list[str]:
    """What to type next."""
    policy, study = shlex.quote(str(data["policy"])), shlex.quote(data["study"])
    return [
        "next:",
        f"  autotc eval {policy}{options}",
        f"  autotc check {policy}{options}",
        f"  autotc front {study}{home}",
    ]
