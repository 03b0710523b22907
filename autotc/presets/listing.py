"""The published methods as a list to filter, as a table, and one by one in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from autotc.errors import PolicyError, quote
from autotc.mechanisms import MECHANISMS, Score
from autotc.names import nearest
from autotc.presets.base import Preset
from autotc.presets.catalogue import PRESETS, get_preset
from autotc.tabular import frame, html_table
from autotc.vocabulary import FAMILIES, LOCATIONS, MODALITIES, Family, Location, Modality

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("name", "family", "modalities", "locations", "needs", "paper", "flash_safe", "adaptation")


class PresetRow(TypedDict):
    """A preset as ``autotc presets --json`` lists it; the fields are those of `Preset`."""

    name: str
    family: Family
    modalities: list[Modality]
    locations: list[Location]
    needs: list[Score]
    paper: str | None
    flash_safe: bool
    adaptation: str | None


@dataclass(frozen=True)
class PresetTable:
    """Presets in the catalogue's order; iterate over it, or look one up by name.

    Attributes:
        presets: its rows.
    """

    presets: tuple[Preset, ...]

    def __iter__(self) -> Iterator[Preset]:
        return iter(self.presets)

    def __len__(self) -> int:
        return len(self.presets)

    def __getitem__(self, name: str) -> Preset:
        """A preset by name.

        Raises:
            PolicyError: the table has none of that name.
        """
        return {preset.name: preset for preset in self.presets}.get(name) or get_preset(name)

    def to_json(self) -> list[PresetRow]:
        """As ``autotc presets --json`` lists them."""
        return [entry(preset) for preset in self.presets]

    def to_pandas(self) -> pd.DataFrame:
        """One row for each preset.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return frame(self._rows(), COLUMNS)

    def to_markdown(self) -> str:
        """The table of the reference."""
        lines = [
            "| preset | family | modalities | at | reads | paper | published form runs under FlashAttention |"
            " adaptation |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for preset in self.presets:
            paper = f"[{preset.paper}](https://arxiv.org/abs/{preset.paper})" if preset.paper else ""
            cells = [
                f"`{preset.name}`",
                preset.family,
                ", ".join(preset.modalities),
                ", ".join(preset.locations),
                ", ".join(preset.needs),
                paper,
                "yes" if preset.flash_safe else "no",
                preset.adaptation or "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, object]]:
        return [
            {key: ", ".join(value) if isinstance(value, list) else value for key, value in row.items()}
            for row in self.to_json()
        ]

    def _repr_html_(self) -> str:
        return html_table(self._rows())


def _check_known(what: str, name: str | None, known: Sequence[str]) -> None:
    """See that a name, where one is given, is one of those known."""
    if name is not None and name not in known:
        raise PolicyError(f"{what}: {quote(name)} given; {nearest(name, known)}")


def presets(
    *,
    family: Family | None = None,
    location: Location | None = None,
    modality: Modality | None = None,
    needs: Score | None = None,
    paper: str | None = None,
    flash_safe: bool | None = None,
) -> PresetTable:
    """The published methods that meet every given condition, in the catalogue's order.

    Args:
        family: of the survey's taxonomy, or ``control``.
        location: a part acts there.
        modality: it takes.
        needs: a score that a part reads, e.g. ``last_query_attention``.
        paper: its arXiv number.
        flash_safe: whether its published form runs under FlashAttention.

    Raises:
        PolicyError: there is no such family, location, modality or score.

    Example:
        >>> [preset.name for preset in autotc.presets(family="query", modality="audio")]  # doctest: +SKIP
        ['speechprune', ...]
    """
    _check_known("family", family, FAMILIES)
    _check_known("location", location, LOCATIONS)
    _check_known("modality", modality, MODALITIES)
    scores = sorted({score for preset in PRESETS.values() for score in preset.needs})
    if needs is not None and needs not in scores:
        raise PolicyError(f"needs: {quote(needs)} is read by no preset; {nearest(needs, scores)}")
    return PresetTable(
        tuple(
            preset
            for preset in PRESETS.values()
            if family in (None, preset.family)
            and (location is None or location in preset.locations)
            and (modality is None or modality in preset.modalities)
            and (needs is None or needs in preset.needs)
            and paper in (None, preset.paper)
            and flash_safe in (None, preset.flash_safe)
        )
    )


def entry(preset: Preset) -> PresetRow:
    """A preset as ``autotc presets --json`` lists it."""
    return {
        "name": preset.name,
        "family": preset.family,
        "modalities": list(preset.modalities),
        "locations": list(preset.locations),
        "needs": list(preset.needs),
        "paper": preset.paper,
        "flash_safe": preset.flash_safe,
        "adaptation": preset.adaptation,
    }


def describe(preset: Preset) -> str:
    """What a preset is, in some lines of text: its paper, its parts and where they act, what it reads."""
    lines = [f"{preset.name}: {preset.family}, {', '.join(preset.modalities)}"]
    lines += [f"paper         https://arxiv.org/abs/{preset.paper}"] if preset.paper else []
    for family, part in [(None, p) for p in preset.parts] + [(f, p) for f, own in preset.own.items() for p in own]:
        layer = part.layer if isinstance(part.layer, tuple) else None
        where = part.location if layer is None else f"{part.location}, layer {layer[0]} of {layer[1]}"
        where += f" (on {family})" if family else ""
        lines.append(f"part          {part.mechanism} at the {where}, published keep ratio {part.keep:.4g}")
        lines.append(f"              {MECHANISMS[part.mechanism].source}")
    lines.append(f"reads         {', '.join(preset.needs) or 'features alone'}")
    lines.append(f"FlashAttention  the published form {'runs' if preset.flash_safe else 'does not run'} under it")
    lines += [f"adaptation    {preset.adaptation}"] if preset.adaptation else []
    return "\n".join(lines)
