"""What is stacked, on which samples, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from autotc.errors import PolicyError, quote
from autotc.names import check_name
from autotc.ranges import check_choice, check_count, check_ratios
from autotc.records.interaction import Keeps
from autotc.vocabulary import MODALITIES, SPLITS, Modality, Split

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

    Raises:
        DataError: the name is no name, a modality or the split is unknown, or a number is no whole number from 1.
        PolicyError: keep ratios are none, or do not fall.
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

    def __post_init__(self) -> None:
        for modality in self.modalities or ():
            check_choice(modality, "modalities", MODALITIES)
        for keeps in self.keeps:
            check_ratios(keeps, "keeps")
            if len(keeps) != 2 or keeps[1] >= keeps[0]:
                raise PolicyError(f"keeps: {quote(keeps)} given; two ratios are right, the second below the first")
        check_count(self.samples, "samples")
        check_choice(self.split, "split", SPLITS)
        if self.limit is not None:
            check_count(self.limit, "limit")
        if self.name is not None:
            check_name(self.name, "--name")

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
