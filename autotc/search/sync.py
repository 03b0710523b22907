"""Log to MLflow what a search could not log while it ran."""

from __future__ import annotations

from pathlib import Path

from autotc.search.home import Home
from autotc.search.locks import hold_study
from autotc.search.storage import load_study
from autotc.tracking.tracker import SPOOL, sync_spool


def sync(study: str, *, runs: str | Path = "runs", tracking_uri: str | None = None, storage: str | None = None) -> int:
    """Log what is kept of a study, in order; what was logged before is not logged again.

    Args:
        study: its name.
        runs: folder of the studies.
        tracking_uri: MLflow server; None takes the one that the search was to log to.
        storage: URL of the Optuna storage, see `SearchSettings`.

    Returns:
        How many records were logged.

    Raises:
        SearchError: there is no such study, or it is being searched.
        DataError: nothing is kept of it, or MLflow fails; what is kept stays.
    """
    stored = load_study(study, Home.of(runs, storage))
    with hold_study(stored.folder, study):
        run_id, count = sync_spool(stored.folder / SPOOL, Path(runs), tracking_uri, stored.mlflow_run)
        if run_id != stored.mlflow_run:
            stored.note("mlflow_run", run_id)
    return count
