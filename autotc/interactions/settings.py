"""What is stacked, on which samples, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import PolicyError, quote
from autotc.ranges import check_choice, check_count, check_ratios
from autotc.records.interaction import Keeps
from autotc.records.settings import KeptOptions, KeptSettings
from autotc.vocabulary import MODALITIES, Modality

KEEPS: tuple[Keeps, ...] = ((0.5, 0.25),)
"""Keep ratios of the first and the second stage, where they are not said."""


@dataclass(frozen=True, kw_only=True)
class ConflictsSettings(KeptSettings):
    """Settings of `autotc.conflicts`.

    Attributes:
        modalities: to measure on; None takes all that the samples hold.
        keeps: keep ratios of the first and the second stage, both of the uncompressed count.
        samples: calibration samples of the predictions.
        split, limit, runs, name, mlflow, tracking_uri: as of `KeptSettings`; the folder is ``runs/conflicts/name``,
            without a name ``runs/conflicts/default`` or ``runs/conflicts/first-LIMIT``.

    Raises:
        DataError: as of `KeptSettings`, a modality is unknown, or ``samples`` is no whole number from 1.
        PolicyError: keep ratios are none, or do not fall.
    """

    modalities: Sequence[Modality] | None = None
    keeps: Sequence[Keeps] = KEEPS
    samples: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for modality in self.modalities or ():
            check_choice(modality, "modalities", MODALITIES)
        for keeps in self.keeps:
            check_ratios(keeps, "keeps")
            if len(keeps) != 2 or keeps[1] >= keeps[0]:
                raise PolicyError(f"keeps: {quote(keeps)} given; two ratios are right, the second below the first")
        check_count(self.samples, "samples")

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        usual = "default" if self.limit is None else f"first-{self.limit}"
        return Path(self.runs) / "conflicts" / (self.name or usual)


class ConflictsOptions(KeptOptions, total=False):
    """The fields of `ConflictsSettings` as keywords."""

    modalities: Sequence[Modality] | None
    keeps: Sequence[Keeps]
    samples: int
