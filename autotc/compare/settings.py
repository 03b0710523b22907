"""What is compared, on which samples, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotc.ranges import check_ratios
from autotc.records.settings import KeptOptions, KeptSettings

TOKENS = (0.5, 0.25, 0.1)
"""Shares of the uncompressed language-model tokens at which presets are compared by default."""
COSTS = (0.75, 0.5)
"""FLOPs ratios at which presets are compared by default."""
KEEPS = (0.1, 0.2, 0.35, 0.5, 0.75)
"""Keep ratios at which places are compared by default."""

Presets = Sequence[str] | Literal["all"]
By = Literal["preset", "location"]


@dataclass(frozen=True, kw_only=True)
class CompareSettings(KeptSettings):
    """Settings of `autotc.compare`.

    Attributes:
        tokens: targets for the mean tokens in the language model, relative to uncompressed; with presets. None takes
            `TOKENS`, or nothing where ``costs`` are given.
        costs: targets for the FLOPs ratio; with presets. None takes `COSTS`, or nothing where ``tokens`` are given.
        mechanism: that is measured at every place; with locations.
        keeps: keep ratios; with locations.
        split, limit, runs, name, mlflow, tracking_uri: as of `KeptSettings`; the folder is ``runs/name``, without a
            name ``runs/compare`` or ``runs/locations-MECHANISM``.

    Raises:
        DataError: as of `KeptSettings`.
        PolicyError: a target or a keep ratio is no ratio.
    """

    tokens: Sequence[float] | None = None
    costs: Sequence[float] | None = None
    mechanism: str = "divprune"
    keeps: Sequence[float] = KEEPS

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, ratios in (("tokens", self.tokens), ("costs", self.costs), ("keeps", self.keeps)):
            check_ratios(ratios, what)

    def folder(self, by: By) -> Path:
        """Where everything is written."""
        usual = "compare" if by == "preset" else f"locations-{self.mechanism}"
        return Path(self.runs) / (self.name or usual)

    def targets(self) -> tuple[Sequence[float], Sequence[float]]:
        """Targets for tokens and for costs."""
        if self.tokens is None and self.costs is None:
            return TOKENS, COSTS
        return self.tokens or (), self.costs or ()


class CompareOptions(KeptOptions, total=False):
    """The fields of `CompareSettings` as keywords."""

    tokens: Sequence[float] | None
    costs: Sequence[float] | None
    mechanism: str
    keeps: Sequence[float]
