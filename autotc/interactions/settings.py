"""What is stacked, on which samples, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from autotc.records.interaction import Keeps
from autotc.vocabulary import Modality, Split

KEEPS: tuple[Keeps, ...] = ((0.5, 0.25),)
"""Keep ratios of the first and the second stage, where they are not said."""


@dataclass(frozen=True)
class ConflictsSettings:
    """Settings of `autotc.conflicts`.

    Attributes:
        modalities: to measure on; None takes all that the samples hold.
        keeps: keep ratios of the first and the second stage, both of the uncompressed count.
        samples: calibration samples of the predictions.
        split, limit: samples that interactions are measured on; the first ``limit`` of each modality, all where None.
        runs, name: everything is written to ``runs/conflicts/name``; what is there already does not run again. Without
            a name ``default``, or ``first-LIMIT``.
        mlflow, tracking_uri: whether and where to log; None logs into a local store in ``runs``.
    """

    modalities: Sequence[Modality] | None = None
    keeps: Sequence[Keeps] = KEEPS
    samples: int = 16
    split: Split = "test"
    limit: int | None = None
    runs: str | Path = "runs"
    name: str | None = None
    mlflow: bool = True
    tracking_uri: str | None = None

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        usual = "default" if self.limit is None else f"first-{self.limit}"
        return Path(self.runs) / "conflicts" / (self.name or usual)


class ConflictsOptions(TypedDict, total=False):
    """The fields of `ConflictsSettings` as keywords."""

    modalities: Sequence[Modality] | None
    keeps: Sequence[Keeps]
    samples: int
    split: Split
    limit: int | None
    runs: str | Path
    name: str | None
    mlflow: bool
    tracking_uri: str | None
