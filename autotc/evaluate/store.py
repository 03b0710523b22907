"""Per-sample results on disk: what a measurement that was interrupted does not run again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from autotc.errors import DataError, quote
from autotc.files import read_text, write_text
from autotc.results import Results
from autotc.stamp import Stamp

_FORMAT = 2
_REMEDY = "give another --name, or the same model, data and options"
_LOG = logging.getLogger(__name__)


@dataclass
class ResultStore:
    """Results of policies that were measured, one samples file each.

    Attributes:
        folder: that holds them.
        stamp: what they depend on; a folder with another stamp is refused.
        settings: options of the measurement that decide what is run, e.g. the limit; others are refused as well.
        kind: of the measurement, as it is called in errors and in the name of the file that holds stamp and settings.
    """

    folder: Path
    stamp: Stamp
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "measurement"

    def open(self) -> None:
        """Take up what is there.

        Raises:
            DataError: the folder holds a measurement of something else, or cannot be read or written.
        """
        path = self.folder / f"{self.kind}.json"
        if path.exists():
            self._compare(path)
        document = {"format": _FORMAT, **self.settings, "stamp": self.stamp.model_dump()}
        write_text(path, json.dumps(document, indent=1))

    def _compare(self, path: Path) -> None:
        """See that a folder's results are of the same model, data and options.

        Raises:
            DataError: naming what differs.
        """
        damaged = f"{path}: is damaged, so that it is not known what the results beside it are of; {_REMEDY}"
        try:
            known = json.loads(read_text(path, f"what a {self.kind} was made with"))
        except json.JSONDecodeError as error:
            raise DataError(damaged) from error
        if not isinstance(known, dict):
            raise DataError(damaged)
        for key, value in {"format": _FORMAT, **self.settings}.items():
            if known.get(key) != value:
                raise DataError(
                    f"{self.folder}: holds a {self.kind} with {key} {quote(known.get(key))}, not {quote(value)};"
                    f" {_REMEDY}"
                )
        try:
            stamp = Stamp.model_validate(known.get("stamp"))
        except ValidationError as error:
            raise DataError(damaged) from error
        stamp.require(self.stamp, f"{self.folder}", _REMEDY)

    def results(self, key: str, make: Callable[[], Results]) -> Results:
        """Results known by a key, else those that ``make`` returns, which are written.

        A stored file that is damaged is named on the log, and measured again.
        """
        path = self.folder / "samples" / f"{key}.parquet"
        if path.exists():
            try:
                return Results.load(path)
            except DataError as error:
                _LOG.warning("%s; it is measured again", error)
        results = make()
        results.save(path)
        return results
