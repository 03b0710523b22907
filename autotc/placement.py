"""A mechanism and where it stands: a stage without its modality and its ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotc.mechanisms import MECHANISMS
from autotc.policy import Stage
from autotc.vocabulary import Location, Modality


@dataclass(frozen=True)
class Placement:
    """A mechanism and where it stands.

    Attributes:
        mechanism, location, layer: as in `Stage`.
        params: of the mechanism.
    """

    mechanism: str
    location: Location
    layer: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def site(self) -> str:
        """Where it stands, e.g. ``projector`` or ``decoder[2]``."""
        return self.location if self.layer is None else f"{self.location}[{self.layer}]"

    @property
    def label(self) -> str:
        """As users write it, e.g. ``fastv@decoder[2]``."""
        return f"{self.mechanism}@{self.site}"

    def takes(self, modality: Modality) -> bool:
        """Whether it acts on a modality."""
        return modality in MECHANISMS[self.mechanism].modalities

    def stage(self, modality: Modality, keep_ratio: float) -> Stage:
        """The stage that it is on a modality at a ratio.

        Raises:
            PolicyError: there is no such stage.
        """
        return Stage(
            modality=modality,
            location=self.location,
            layer=self.layer,
            mechanism=self.mechanism,
            keep_ratio=keep_ratio,
            params=dict(self.params),
        )
