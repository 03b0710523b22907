"""Per-sample results on disk: what a measurement that was interrupted does not run again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autotc.errors import DataError
from autotc.results import Results


@dataclass
class ResultStore:
    """Results of policies that were measured, one samples file each.

    Attributes:
        folder: that holds them.
        stamp: what they were measured on; a folder with another stamp is refused.
        kind: of the measurement, as it is called in errors and in the name of the stamp's file.
    """

    folder: Path
    stamp: Mapping[str, Any]
    kind: ClassVar[str] = "measurement"

    def open(self) -> None:
        """Take up what is there.

        Raises:
            DataError: the folder holds a measurement of something else.
        """
        path = self.folder / f"{self.kind}.json"
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            for key, value in self.stamp.items():
                if known.get(key) != value:
                    raise DataError(
                        f"{self.folder}: holds a {self.kind} with {key} {known.get(key)!r}, not {value!r}; give another"
                        " --name, or the same options"
                    )
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.stamp, indent=1), encoding="utf-8")

    def results(self, key: str, make: Callable[[], Results]) -> Results:
        """Results known by a key, else those that ``make`` returns, which are written."""
        path = self.folder / "samples" / f"{key}.parquet"
        if path.exists():
            return Results.load(path)
        found = make()
        found.save(path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)  # an interrupted run leaves no half file
        return found
