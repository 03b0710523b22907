"""The studies that a runs folder keeps."""

from __future__ import annotations

from pathlib import Path

from autotc.errors import DataError


def study_names(runs: Path) -> list[str]:
    """Names of the stored studies; at least one."""
    from autotc.search.study import list_studies

    names = list_studies(runs)
    if not names:
        raise DataError(f"{runs / 'studies.db'}: no studies there; run autotc search first, or give --runs DIR")
    return names


def exported_file(runs: Path, study: str, trial: int) -> str | None:
    """The policy file that a search wrote of a trial, if it did."""
    path = runs / study / "front" / f"trial-{trial}.yaml"
    return str(path) if path.exists() else None
