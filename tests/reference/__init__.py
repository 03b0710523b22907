"""The reference: JSON Schemas, and documents of the commands and of the keys of policies and search spaces."""

from __future__ import annotations

from pathlib import Path

import autotc
from autotc.schemas import FOLDER, schema_file

from . import commands, keys, schemas


def renewed() -> dict[Path, str]:
    """File -> what it should hold."""
    package = Path(autotc.__file__).parent
    return {
        schema_file("policy"): schemas.text("policy"),
        schema_file("space"): schemas.text("space"),
        FOLDER / "README.md": keys.text(),
        package / "cli" / "README.md": commands.text(),
    }
