"""What ``autotc models`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotc.report.tables import table
from autotc.vocabulary import LOCATIONS

if TYPE_CHECKING:
    from autotc.models.listing import ModelFamily


def models_text(families: Sequence[ModelFamily]) -> str:
    """Where stages may act in each family, its classes, and what it does not offer and why."""
    rows = [
        [family.family if first else "", modality, *("yes" if place in places else "-" for place in LOCATIONS)]
        for family in families
        for first, (modality, places) in zip([True, False, False], family.locations.items(), strict=False)
    ]
    lines = [table(["family", "modality", *LOCATIONS], rows), "", "classes of transformers:"]
    lines += [f"  {family.family:16s} {', '.join(family.architectures)}" for family in families]
    lines += ["", "what a family does not offer, and why:"]
    lines += [
        f"  {family.family:16s} {modality}, {location}: {reason}"
        for family in families
        for modality, places in family.refused.items()
        for location, reason in places.items()
    ]
    lines += ["", "another family is one file in autotc/models/; README, 'Add a model family'"]
    return "\n".join(lines)
