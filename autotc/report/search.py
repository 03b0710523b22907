"""What a search prints: its front while it runs and when it ends, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotc.report.tables import duration, interval, table


def front_table(points: Sequence[Mapping[str, Any]]) -> str:
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


def _optimism(front: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the exported policy loses between the split it was chosen on and the test split."""
    chosen = next(row for row in front if row["chosen"])
    if chosen.get("accuracy_search") is None:
        return []
    return [f"exported policy: {chosen['accuracy_search']:.3f} on search, {chosen['accuracy']:.3f} on test"]


def _audit(audited: Mapping[str, int]) -> list[str]:
    """How many refusals of predicted conflicts were held against a run, and were right."""
    if not audited:
        return []
    return [f"predicted conflicts run all the same: {audited['run']}, of which {audited['right']} were right to refuse"]


def search_report(data: Mapping[str, Any], *, options: str, runs: object) -> str:
    """What a search ends with: front, floors, files, where MLflow's store is, and what to type next.

    Args:
        data: the search's JSON.
        options: of the data and the model, as given, for the commands to type.
        runs: folder of the studies.
    """
    points = [{**row, "accuracy": row["accuracy_by"]} for row in data["front"]]
    marked = [
        {**row, "policy": row["policy"] + ("  <- exported" if row["chosen"] else ""), "label": None} for row in points
    ]
    chosen = next(row for row in data["front"] if row["chosen"])
    refused = ", ".join(f"{rule} {count}" for rule, count in data["refused"].items()) or "none"
    locations = list(dict.fromkeys(key.split("/")[1] for key in data["floors"]))
    modalities = list(dict.fromkeys(key.split("/")[0] for key in data["floors"]))
    floors = [
        [
            name,
            *(f"{data['floors'][f'{name}/{at}']:.3f}" if f"{name}/{at}" in data["floors"] else "-" for at in locations),
        ]
        for name in modalities
    ]
    lines = [
        f"front of {data['study']}, measured once on the test split (accuracy with 95% intervals, tokens an item)",
        "",
        front_table(marked),
        "",
        "uncompressed: " + ", ".join(f"{name} {interval(value)}" for name, value in data["uncompressed"].items()),
    ]
    if "overall" in chosen["difference"]:
        mean, low, high = chosen["difference"]["overall"]
        lines.append(f"exported policy against uncompressed, paired: {mean:+.3f} [{low:+.3f}, {high:+.3f}] overall")
    lines += [
        f"trials: {data['trials']} feasible on all samples, {data['raced']} given up on part of them, {data['failed']}"
        f" failed; refused before they ran: {refused}",
        f"samples run: {data['forwards']:,}; spared by races and shared parts: {data['saved']:,}"
        + (f"; run to predict conflicts: {data['watched']:,}" if data["watched"] else ""),
        *_optimism(data["front"]),
        *_audit(data["audited"]),
        f"hypervolume {data['hypervolume']:.4f}, {duration(data['seconds'])} in all",
        "",
        "floors: the lowest FLOPs ratio that each location can reach",
        "",
        table(["modality", *locations], floors),
        "",
        f"policy   {data['policy']}",
    ]
    lines += [f"figure   {path}" for path in data["figures"]]
    if data["mlflow_uri"] is not None:
        uri = data["mlflow_uri"]
        opened = (
            f"mlflow ui --backend-store-uri {uri}" if "://" in uri and not uri.startswith("http") else "in a browser"
        )
        lines.append(f"MLflow   {uri}   (open: {opened})")
    where = "" if str(runs) == "runs" else f" --runs {runs}"
    lines += [
        "",
        "next:",
        f"  autotc eval {data['policy']}{options}",
        f"  autotc check {data['policy']}{options}",
        f"  autotc front {data['study']}{where}",
    ]
    return "\n".join(lines)
