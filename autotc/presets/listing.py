"""The presets as a list to filter, as the README's table, and as policy files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS, Score
from autotc.models import BoundAdapter
from autotc.policy import ModelReference, Policy
from autotc.presets.base import Preset
from autotc.presets.catalogue import PRESETS, get_preset
from autotc.vocabulary import Family, Location, Modality


def select(
    *,
    family: Family | None = None,
    location: Location | None = None,
    modality: Modality | None = None,
    needs: Score | None = None,
    paper: str | None = None,
    flash_safe: bool | None = None,
) -> list[Preset]:
    """The presets that meet every given condition, in the registry's order."""
    return [
        preset
        for preset in PRESETS.values()
        if family in (None, preset.family)
        and (location is None or location in preset.locations)
        and (modality is None or modality in preset.modalities)
        and (needs is None or needs in preset.needs)
        and paper in (None, preset.paper)
        and flash_safe in (None, preset.flash_safe)
    ]


def entry(preset: Preset) -> dict[str, Any]:
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


def markdown(presets: Sequence[Preset]) -> str:
    """The README's table."""
    lines = [
        "| preset | family | modalities | at | reads | paper | published form runs under FlashAttention | adaptation |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for preset in presets:
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


def preset_policy(
    name: str,
    keep: float | None,
    bound: BoundAdapter,
    model: ModelReference | None,
    modalities: Sequence[Modality] | None,
) -> Policy:
    """A preset as a policy for a model.

    Args:
        name: of the preset.
        keep: keep ratio after the last part; None takes the published one of each modality.
        bound: of the model.
        model: what the policy says of it.
        modalities: to compress; None takes all that both preset and model take.

    Raises:
        PolicyError: the preset is unknown, or preset and model share no modality at the preset's locations.
    """
    preset, offers, depths = get_preset(name), bound.offers, bound.depths

    def fits(modality: Modality, mechanism: str, location: Location) -> bool:
        return bound.refusal(MECHANISMS[mechanism], modality, location) is None

    fitting = [
        modality
        for modality in preset.modalities
        if all(fits(modality, part.mechanism, part.location) for part in preset.parts_of(modality))
    ]
    chosen = fitting if modalities is None else list(modalities)
    wrong = [modality for modality in chosen if modality not in fitting]
    if wrong or not chosen:
        has = "; ".join(f"{modality} at {', '.join(places)}" for modality, places in offers.items())
        raise PolicyError(
            f"{name}: acts on {', '.join(preset.modalities)} at {', '.join(preset.locations)}"
            f"{' and reads ' + ', '.join(preset.needs) if preset.needs else ''}; the model offers {has}"
        )
    stages = [
        stage
        for modality in chosen
        for stage in preset.build(modality, depths, preset.published(modality) if keep is None else keep)
    ]
    note = f"preset {name}" + (f" (arXiv {preset.paper})" if preset.paper else "")
    note += ": published settings, not measured here"
    if preset.adaptation:
        note += f"; adaptation: {preset.adaptation}"
    return Policy.of(stages, model).model_copy(update={"note": note})


def every_policy(keep: float, bound: BoundAdapter, model: ModelReference) -> dict[str, Policy]:
    """Every preset that a model takes, by name, as a policy at one keep ratio."""
    out = {}
    for name in PRESETS:
        try:
            out[name] = preset_policy(name, keep, bound, model, None)
        except PolicyError:
            continue
    return out
