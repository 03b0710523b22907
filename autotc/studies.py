"""Looking at studies that a runs folder keeps: their list, a front, a report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from autotc.errors import DataError, quote
from autotc.files import write_text
from autotc.names import nearest
from autotc.records.study import FrontPoint, StudyFront, StudyReport, StudySummary
from autotc.report.study_page import study_html, study_markdown
from autotc.search.account import study_account
from autotc.search.home import Home
from autotc.search.storage import list_studies, load_front

Format = Literal["html", "md"]


def front(study: str | None = None, *, runs: str | Path = "runs", storage: str | None = None) -> StudyFront:
    """The front of a study on its search split, cheapest policy first.

    Args:
        study: its name; None takes the latest.
        runs: folder of the studies.
        storage: URL of their Optuna storage; None takes `AUTOTC_STORAGE`, or ``studies.db`` in the folder.

    Raises:
        DataError: the folder holds no studies.
        SearchError: there is no study of that name.
        MissingDependencyError: Optuna is not installed.

    Example:
        >>> autotc.front("tiny-omni-b0.4-s0").points[0].accuracy  # doctest: +SKIP
        0.912
    """
    home = Home.of(runs, storage)
    name = _names(home)[-1] if study is None else study
    points = (
        FrontPoint(
            policy=_exported_file(home.runs, name, record.number),
            label=record.policy.label(),
            accuracy=record.accuracy,
            accuracy_by=dict(record.accuracy_by),
            flops_ratio=record.flops_ratio,
            tokens=dict(record.tokens),
            trial=record.number,
        )
        for record in load_front(name, home)
    )
    return StudyFront(name, tuple(points))


def study(*, runs: str | Path = "runs", storage: str | None = None) -> list[StudySummary]:
    """The studies that a folder keeps, in order of their making.

    Args:
        runs: folder of the studies.
        storage: URL of their Optuna storage; None takes `AUTOTC_STORAGE`, or ``studies.db`` in the folder.

    Raises:
        DataError: the folder holds no studies.
        MissingDependencyError: Optuna is not installed.

    Example:
        >>> [summary.study for summary in autotc.study()]  # doctest: +SKIP
        ['tiny-omni-b0.4-s0']
    """
    summaries, home = [], Home.of(runs, storage)
    for name in _names(home):
        records = load_front(name, home)
        best = max(records, key=lambda record: record.accuracy) if records else None
        summaries.append(
            StudySummary(
                study=name,
                front=len(records),
                accuracy=None if best is None else best.accuracy,
                flops_ratio=None if best is None else best.flops_ratio,
            )
        )
    return summaries


def report(
    study: str | None = None,
    *,
    format: Format = "html",
    out: str | Path | None = None,
    runs: str | Path = "runs",
    storage: str | None = None,
) -> StudyReport:
    """Write what a study found, and how, as one file; also of one that runs still.

    Args:
        study: its name; None takes the latest.
        format: ``html``, a page that needs no network, or ``md``, Markdown for a pull request.
        out: file to write; None writes ``report.html`` or ``report.md`` into the study's folder.
        runs: folder of the studies.
        storage: URL of their Optuna storage; None takes `AUTOTC_STORAGE`, or ``studies.db`` in the folder.

    Raises:
        DataError: there is no such study, or the file cannot be written.
        MissingDependencyError: Optuna or Jinja is not installed.

    Example:
        >>> autotc.report(out="report.html").file  # doctest: +SKIP
        PosixPath('report.html')
    """
    home = Home.of(runs, storage)
    known = _names(home)
    name = known[-1] if study is None else study
    if name not in known:
        raise DataError(f"study: {quote(name)} is not in {home.shown}; {nearest(name, known)}")
    if format not in get_args(Format):
        raise DataError(f"format: {quote(format)} given; {' or '.join(get_args(Format))} is right")
    account = study_account(name, home)
    text = study_html(account) if format == "html" else study_markdown(account)
    path = home.runs / name / f"report.{format}" if out is None else Path(out)
    return StudyReport(name, write_text(path, text, "--out"))


def _names(home: Home) -> list[str]:
    """Names of the stored studies; at least one."""
    names = list_studies(home)
    if not names:
        raise DataError(f"{home.shown}: no studies there; run autotc search first, or give --runs DIR")
    return names


def _exported_file(runs: Path, study: str, trial: int) -> str | None:
    """The policy file that a search wrote of a trial, if it did."""
    path = runs / study / "front" / f"trial-{trial}.yaml"
    return str(path) if path.exists() else None
