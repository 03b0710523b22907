"""What ``autotc front``, ``autotc study`` and ``autotc report`` print."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.records.study import Problem, StudyFront, StudyReport, StudyState, StudySummary
from autotc.report.search import front_table
from autotc.report.tables import table


def front_text(front: StudyFront) -> str:
    """One line for each policy of a front."""
    points = [
        {**point.to_json(), "accuracy": point.accuracy_by, "policy": point.policy or point.label}
        for point in front.points
    ]
    return f"{front.study}: front on the {_split(front)} split\n\n{front_table(points)}"


def _split(front: StudyFront) -> str:
    return front.points[0].split if front.points else "search"


def studies_text(studies: Sequence[StudySummary]) -> str:
    """One line for each study."""
    rows = [[study.study, str(study.front), _three(study.accuracy), _three(study.flops_ratio)] for study in studies]
    return table(["study", "front", "best accuracy", "its FLOPs"], rows)


def state_text(state: StudyState) -> str:
    """How far a study is, a line for each thing to know."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in state.kinds.items())
    lines = [
        f"{state.study}: {state.done} of {state.asked} policies have run; {state.front} on the front",
        f"budget    {state.budget:g} of the FLOPs; sampler {state.sampler}, seed {state.seed}",
        f"trials    {kinds or 'none'}",
        f"samples   {state.forwards:,} run on the search split",
        f"storage   {state.storage}",
        f"folder    {state.folder}",
        f"policy    {state.policy or 'none yet'}",
        f"MLflow    {state.mlflow_run or 'no run'}",
    ]
    for trial in state.running:
        there = f"since {trial.since}, {trial.beats} beats" if trial.alive else "which is gone"
        lines.append(f"running   trial {trial.trial} on {trial.worker}, {there}")
    return "\n".join(lines)


def problems_text(study: str, problems: Sequence[Problem]) -> str:
    """What is wrong with a study, each with what to do."""
    if not problems:
        return f"{study}: nothing is wrong"
    return "\n".join(f"{problem.where}: {problem.what}; {problem.remedy}" for problem in problems)


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def report_text(report: StudyReport) -> str:
    """The file that was written."""
    return f"wrote {report.file}"
