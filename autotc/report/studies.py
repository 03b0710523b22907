"""What ``autotc front``, ``autotc study`` and ``autotc report`` print."""

from __future__ import annotations

from collections.abc import Sequence

from autotc.records.study import StudyFront, StudyReport, StudySummary
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


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def report_text(report: StudyReport) -> str:
    """The file that was written."""
    return f"wrote {report.file}"
