"""What `autotc check` prints and writes: a table, Markdown for a comment, SARIF for code scanning."""

from __future__ import annotations

import json
from pathlib import PurePath

from autotc.errors import one_line
from autotc.records.check import CheckReport, Finding
from autotc.report.tables import markdown_table, table

COMMENT_MARK = "<!-- autotc-check -->"
"""First line of the Markdown: what finds the comment that is to be updated."""
_SIGNS = {"pass": "passed", "warn": "warning", "fail": "FAILED"}
_LEVELS = {"pass": "none", "warn": "warning", "fail": "error"}
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def check_text(report: CheckReport) -> str:
    """Findings of a check and the verdict."""
    rows = [[f.verdict, f.what, f.expected, f.found] for f in report.findings]
    return table(["verdict", "what", "expected", "found"], rows) + f"\n\ncheck {_verdict(report)}"


def _verdict(report: CheckReport) -> str:
    failed = ", ".join(f.what for f in report.findings if f.verdict == "fail")
    return "passed" if report.passed else f"FAILED: {failed}"


def check_markdown(report: CheckReport) -> str:
    """A comment for a pull request: the verdict, then all findings, failures first."""
    order = sorted(report.findings, key=lambda finding: ("fail", "warn", "pass").index(finding.verdict))
    rows = [[_SIGNS[f.verdict], f.what, f.expected, f.found] for f in order]
    title = f"### autotc check of `{one_line(report.policy)}`: {'passed' if report.passed else 'failed'}"
    return "\n".join([COMMENT_MARK, title, "", markdown_table(["", "what", "expected", "found"], rows), ""])


def check_sarif(report: CheckReport, version: str) -> str:
    """Findings as SARIF 2.1.0, for code scanning; each is a rule, and those that did not pass are results.

    Args:
        report: of the check.
        version: of autotc.
    """
    rules = [{"id": _rule(finding), "shortDescription": {"text": finding.what}} for finding in report.findings]
    results = [
        {
            "ruleId": _rule(finding),
            "level": _LEVELS[finding.verdict],
            "message": {"text": f"{finding.what}: expected {finding.expected}, found {finding.found}"},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": PurePath(report.policy).as_posix()}}},
            ],
        }
        for finding in report.findings
        if finding.verdict != "pass"
    ]
    driver = {"name": "autotc", "version": version, "rules": list({rule["id"]: rule for rule in rules}.values())}
    document = {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(document, indent=1) + "\n"


def _rule(finding: Finding) -> str:
    """A finding's name as the id of a rule, which holds no blanks."""
    return "check/" + finding.what.replace(" ", "-")
