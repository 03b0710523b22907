"""MLflow: one parent run a study, one nested run a trial; what cannot be logged is kept in a file and brought later.

`store` is the only module that imports mlflow, and only when it is used.
"""

from __future__ import annotations

from autotc.tracking.address import Address, masked, resolve
from autotc.tracking.optional import optional_tracker
from autotc.tracking.spool import Spool
from autotc.tracking.tracker import Tracker, version

__all__ = ["Address", "Spool", "Tracker", "masked", "optional_tracker", "resolve", "version"]
