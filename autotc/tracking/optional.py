"""A tracker for work whose record is a convenience: without MLflow the work goes on, and says so once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from autotc.errors import MissingDependencyError
from autotc.tracking.tracker import Tracker


def optional_tracker(
    study: str, *, root: str | Path, uri: str | None, params: Mapping[str, object]
) -> AbstractContextManager[Tracker | None]:
    """A tracker as a context, or None where mlflow is not installed; arguments as of `Tracker`.

    Raises:
        DataError: MLflow takes no such address.
    """
    try:
        return Tracker(study, root=root, uri=uri, params=params)
    except MissingDependencyError as error:
        print(f"nothing is logged to MLflow: {error}", file=sys.stderr, flush=True)
        return nullcontext()
