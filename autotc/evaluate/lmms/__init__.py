"""lmms-eval both ways: its tasks as an evaluator of autotc, and autotc as one of its models.

The embedded benchmark is there as tasks too. Importing this package does not load lmms-eval; its modules do.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from autotc.errors import MissingDependencyError

VERSIONS = ">=0.7.3,<0.8"
"""Versions of lmms-eval whose tasks and interfaces this was written for; pyproject.toml names the same."""
EMBEDDED = Path(__file__).parent / "embedded"
"""Folder of the embedded benchmark's tasks: what ``--include_path`` of lmms-eval takes."""


def require_lmms_eval() -> None:
    """See that lmms-eval is there, in a version that fits.

    Raises:
        MissingDependencyError: it is missing, or its version is out of range.
    """
    from packaging.specifiers import SpecifierSet

    try:
        found = importlib.metadata.version("lmms-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError("lmms-eval is not installed; pip install 'autotc[lmms]'") from error
    if found not in SpecifierSet(VERSIONS):
        raise MissingDependencyError(
            f"lmms-eval {found} is installed, {VERSIONS} is needed; pip install 'lmms-eval{VERSIONS}'"
        )
