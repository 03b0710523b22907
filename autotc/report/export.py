"""What `autotc export` prints: an engine's settings, and what they cost."""

from __future__ import annotations

import shlex

from autotc.records.export import Export
from autotc.report.tables import interval, table
from autotc.vocabulary import MODALITIES


def export_text(export: Export) -> str:
    """Settings, notes, and FLOPs and accuracy of a policy and of what an engine runs in its place."""
    return f"{_settings(export)}\n\n{_costs(export)}"


def _settings(export: Export) -> str:
    engine, plan, lines = export.plan.engine, export.plan, []
    lines.append(f"{engine.title} ({engine.origin} {engine.version})")
    for refusal in plan.refused:
        lines.append(f"refused      {refusal.stage.label()}: {refusal.reason}")
    if plan.refused:
        lines.append(f"nearest      {export.deployed.label()}")
        bare = {refusal.stage.modality for refusal in plan.refused} - set(export.deployed.modalities)
        for modality in sorted(bare, key=MODALITIES.index):
            lines.append(f"             {modality} stays uncompressed: {engine.lacking(modality, plan.architecture)}")
    else:
        lines.append(f"expressed    {export.deployed.label()}")
    for name, value in export.deployment.environment.items():
        lines.append(f"environment  {name}={value}")
    if export.deployment.command:
        lines.append(f"command      {shlex.join(export.deployment.command)}")
    if export.deployment.python:
        lines.append(f"python       {export.deployment.python}")
    lines += [f"note         {note}" for note in plan.notes]
    return "\n".join(lines)


def _costs(export: Export) -> str:
    if export.flops is None:
        return "FLOPs and accuracy are not known: neither model nor samples are at hand (--model, --data)"
    headers = ["modality", "FLOPs of the policy", "FLOPs of what runs"]
    rows = [[m, f"{pair.policy:.3f}", f"{pair.deployed:.3f}"] for m, pair in export.flops.items()]
    out = table(headers, rows)
    if export.accuracy is None or export.difference is None:
        return out if export.plan.expressible else out + "\n\naccuracy: not measured"
    rows = [
        [group, interval(pair.policy), interval(pair.deployed), interval(export.difference[group])]
        for group, pair in export.accuracy.items()
    ]
    return out + "\n\n" + table(["modality", "accuracy of the policy", "of what runs", "difference"], rows)
