"""What every measurement that is kept is asked for: on which samples, where it is kept, where it is logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from autotc.files import check_writable_folder
from autotc.names import check_name
from autotc.ranges import check_choice, check_count
from autotc.tracking import resolve
from autotc.vocabulary import SPLITS, Split


@dataclass(frozen=True, kw_only=True)
class KeptSettings:
    """Settings of a measurement that is kept.

    Attributes:
        split, limit: samples; the first ``limit`` of each modality, all where None.
        runs, name: what is written goes to a folder of that name in ``runs``; what is there already is not measured
            again.
        mlflow, tracking_uri: whether and where to log; None logs where the environment says, or into a local store in
            ``runs``.

    Raises:
        DataError: the name is no name, the split is unknown, or the limit is no whole number from 1.
    """

    split: Split = "test"
    limit: int | None = None
    runs: str | Path = "runs"
    name: str | None = None
    mlflow: bool = True
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        check_choice(self.split, "split", SPLITS)
        if self.limit is not None:
            check_count(self.limit, "limit")
        if self.name is not None:
            check_name(self.name, "--name")

    def check_destination(self, folder: Path) -> None:
        """See that results can be written and logged, before a model is loaded.

        Raises:
            DataError: the folder cannot be written to, or MLflow takes no such address.
        """
        check_writable_folder(folder, "--runs")
        if self.mlflow:
            resolve(self.tracking_uri, self.runs)


class KeptOptions(TypedDict, total=False):
    """The fields of `KeptSettings` as keywords."""

    split: Split
    limit: int | None
    runs: str | Path
    name: str | None
    mlflow: bool
    tracking_uri: str | None
