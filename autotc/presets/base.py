"""What a preset is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autotc.errors import PolicyError
from autotc.mechanisms import Family, Location, Modality, Score
from autotc.models.base import Depths
from autotc.policy import Stage

Builder = Callable[[Modality, Depths, float], tuple[Stage, ...]]


@dataclass(frozen=True)
class Preset:
    """A published method, ready to be placed on a model.

    Attributes:
        name: as users call it.
        family, modalities, locations, needs: of its mechanism; ``locations`` are those the preset uses.
        paper: arXiv number, or None for a control.
        flash_safe: whether the published form runs without attention weights, hence under FlashAttention. The form here
            always does: the runtime computes just the rows that are needed.
        adaptation: how it differs from the published form; None where it does not.
    """

    name: str
    family: Family
    modalities: tuple[Modality, ...]
    locations: tuple[Location, ...]
    needs: tuple[Score, ...]
    paper: str | None
    flash_safe: bool
    adaptation: str | None
    _build: Builder = field(repr=False)

    def build(self, modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        """Its stages.

        Args:
            modality: what to compress.
            depths: of the model.
            keep: in (0, 1], the keep ratio after the last step, relative to the item's uncompressed token count.

        Raises:
            PolicyError: the modality is not taken, the ratio is out of range, or the model has no such place.
        """
        if modality not in self.modalities:
            raise PolicyError(
                f"modality: {self.name} does not take {modality!r}; it takes {', '.join(self.modalities)}"
            )
        if not 0 < keep <= 1:
            raise PolicyError(f"keep_ratio: {keep!r} given; a ratio in (0, 1] is allowed")
        return self._build(modality, depths, keep)
