"""Search spaces: which stages may be combined, as YAML in and Optuna define-by-run suggestions out, and back."""

from __future__ import annotations

from autotc.search.space.errors import SpaceError
from autotc.search.space.model import Choice, ModalitySpace, SearchSpace
from autotc.search.space.schedules import Schedule
from autotc.search.space.trials import Trial

__all__ = ["Choice", "ModalitySpace", "Schedule", "SearchSpace", "SpaceError", "Trial"]
