"""What `autotc check` prints."""

from __future__ import annotations

from autotc.records.check import CheckReport
from autotc.report.tables import table


def check_text(report: CheckReport) -> str:
    """Findings of a check and the verdict."""
    rows = [[f.verdict, f.what, f.expected, f.found] for f in report.findings]
    failed = ", ".join(f.what for f in report.findings if f.verdict == "fail")
    verdict = "passed" if report.passed else f"FAILED: {failed}"
    return table(["verdict", "what", "expected", "found"], rows) + f"\n\ncheck {verdict}"
