"""What `autotc.check` finds: one finding for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from autotc.errors import one_line
from autotc.statistics import Interval
from autotc.tabular import frame, html_table

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        expected: what the policy file says.
        found: what was measured now.
        verdict: ``pass``; ``fail``; ``warn`` where it weakens the check but is no regression.
        change: of an accuracy, now minus before, with its 95% interval.
        p_value: that it fell by no more than the tolerance, one-sided.
        samples: that were compared.
        samples_needed: with which it could be shown to be within the tolerance; None where it is shown, or never can.
    """

    what: str
    expected: str
    found: str
    verdict: Verdict
    change: Interval | None = None
    p_value: float | None = None
    samples: int | None = None
    samples_needed: int | None = None

    def to_json(self) -> dict[str, object]:
        """A row of the ``--json`` document."""
        return {**vars(self), "change": None if self.change is None else list(self.change)}


def passing(what: str, expected: str, found: str, *, ok: bool) -> Finding:
    """A finding that passes or fails."""
    return Finding(what, expected, found, "pass" if ok else "fail")


@dataclass(frozen=True)
class CheckReport:
    """The findings of one check.

    Attributes:
        policy: its file.
        findings: in the order in which they were made.
    """

    policy: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.verdict != "fail" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return {"policy": self.policy, "passed": self.passed, "findings": [f.to_json() for f in self.findings]}

    def to_pandas(self) -> pd.DataFrame:
        """One line for each finding.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame([finding.to_json() for finding in self.findings], ("what", "expected", "found", "verdict"))

    def to_junit(self) -> str:
        """JUnit XML: one test case per finding, for CI systems that show such reports."""
        failures = sum(finding.verdict == "fail" for finding in self.findings)
        suite = ElementTree.Element(
            "testsuite", name="autotc check", tests=str(len(self.findings)), failures=str(failures), errors="0"
        )
        for finding in self.findings:
            case = ElementTree.SubElement(suite, "testcase", classname=one_line(self.policy), name=finding.what)
            text = one_line(f"expected {finding.expected}, found {finding.found}", 2000)  # XML knows no control signs
            if finding.verdict == "fail":
                ElementTree.SubElement(case, "failure", message=text)
            else:
                ElementTree.SubElement(case, "system-out").text = text
        return _junit(suite)

    def _repr_html_(self) -> str:
        return html_table([_shown(f) for f in self.findings], f"check {'passed' if self.passed else 'FAILED'}")


def _shown(finding: Finding) -> dict[str, object]:
    """A finding as a row for people."""
    return {name: getattr(finding, name) for name in ("verdict", "what", "expected", "found")}


def junit_error(policy: str, message: str) -> str:
    """JUnit XML of a check that could not be made: one test case with the error."""
    suite = ElementTree.Element("testsuite", name="autotc check", tests="1", failures="0", errors="1")
    case = ElementTree.SubElement(suite, "testcase", classname=one_line(policy), name="check")
    ElementTree.SubElement(case, "error", message=message)
    return _junit(suite)


def _junit(suite: ElementTree.Element) -> str:
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
