"""The reference: JSON Schemas, and documents of the commands and of the keys of policies and search spaces."""

from __future__ import annotations

from pathlib import Path

from autotc.schemas import schema_file

from . import schemas


def renewed() -> dict[Path, str]:
    """File -> what it should hold."""
    return {schema_file(kind): schemas.text(kind) for kind in ("policy", "space")}
