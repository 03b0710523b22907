"""Looking at studies that a runs folder keeps: their list, a front, figures."""

from __future__ import annotations

import shutil
from pathlib import Path

from autotc.errors import DataError, quote
from autotc.names import nearest
from autotc.records.study import FrontPoint, StudyFront, StudyReport, StudySummary
from autotc.search.storage import list_studies, load_front

FIGURES = ("front.png", "front.html")
"""That a search writes into its study's folder."""


def front(study: str | None = None, *, runs: str | Path = "runs") -> StudyFront:
    """The front of a study on its search split, cheapest policy first.

    Args:
        study: its name; None takes the latest.
        runs: folder of the studies.

    Raises:
        DataError: the folder holds no studies.
        SearchError: there is no study of that name.
        MissingDependencyError: Optuna is not installed.

    Example:
        >>> autotc.front("tiny-omni-b0.5-s0").points[0].accuracy  # doctest: +SKIP
        0.912
    """
    runs = Path(runs)
    name = _names(runs)[-1] if study is None else study
    points = (
        FrontPoint(
            policy=_exported_file(runs, name, record.number),
            label=record.policy.label(),
            accuracy=record.accuracy,
            accuracy_by=dict(record.accuracy_by),
            flops_ratio=record.flops_ratio,
            tokens=dict(record.tokens),
            trial=record.number,
        )
        for record in load_front(name, runs)
    )
    return StudyFront(name, tuple(points))


def study(*, runs: str | Path = "runs") -> list[StudySummary]:
    """The studies that a folder keeps, in order of their making.

    Args:
        runs: folder of the studies.

    Raises:
        DataError: the folder holds no studies.
        MissingDependencyError: Optuna is not installed.

    Example:
        >>> [summary.study for summary in autotc.study()]  # doctest: +SKIP
        ['tiny-omni-b0.5-s0']
    """
    summaries = []
    for name in _names(Path(runs)):
        records = load_front(name, runs)
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


def report(study: str | None = None, *, to: str | Path | None = None, runs: str | Path = "runs") -> StudyReport:
    """The figures of a study.

    Args:
        study: its name; None takes the latest.
        to: folder that they are copied to; None leaves them in the study's folder.
        runs: folder of the studies.

    Raises:
        DataError: there is no such study, it has no figures yet, or ``to`` cannot be written.
        MissingDependencyError: Optuna is not installed.

    Example:
        >>> autotc.report(to="figures").figures  # doctest: +SKIP
        (PosixPath('figures/tiny-omni-b0.5-s0-front.png'), PosixPath('figures/tiny-omni-b0.5-s0-front.html'))
    """
    runs = Path(runs)
    known = _names(runs)
    name = known[-1] if study is None else study
    if name not in known:
        raise DataError(f"study: {quote(name)} is not in {runs / 'studies.db'}; {nearest(name, known)}")
    figures = [runs / name / figure for figure in FIGURES]
    for figure in figures:
        if not figure.exists():
            raise DataError(f"{figure}: no such file; finish the study with autotc search --resume {name}")
    if to is not None:
        try:
            Path(to).mkdir(parents=True, exist_ok=True)
            figures = [Path(shutil.copy(figure, Path(to) / f"{name}-{figure.name}")) for figure in figures]
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"--to: {to} cannot be written ({reason}); give another folder") from error
    return StudyReport(name, tuple(figures))


def _names(runs: Path) -> list[str]:
    """Names of the stored studies; at least one."""
    names = list_studies(runs)
    if not names:
        raise DataError(f"{runs / 'studies.db'}: no studies there; run autotc search first, or give --runs DIR")
    return names


def _exported_file(runs: Path, study: str, trial: int) -> str | None:
    """The policy file that a search wrote of a trial, if it did."""
    path = runs / study / "front" / f"trial-{trial}.yaml"
    return str(path) if path.exists() else None
