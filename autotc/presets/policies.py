"""Presets as policies for a model, one or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS
from autotc.models.bound import BoundAdapter
from autotc.models.checkpoints import Checkpoint, find_checkpoint
from autotc.models.settings import AS_STORED, Loading
from autotc.policy import Policy
from autotc.presets.base import Preset
from autotc.presets.catalogue import PRESETS, get_preset
from autotc.vocabulary import Modality


def preset_policy(
    name: str,
    keep: float | None = None,
    *,
    model: str | Checkpoint | None = None,
    modalities: Sequence[Modality] | None = None,
    loading: Loading = AS_STORED,
) -> Policy:
    """A preset as a policy for a model; nothing but the model's configuration is read.

    Args:
        name: of the preset.
        keep: keep ratio in (0, 1] after the last part; None takes the published one of each modality.
        model: a folder, a hub name, a name such as ``qwen2.5-vl-7b``, or what `find_checkpoint` made of one; None for
            the embedded model.
        modalities: to compress; None takes all that both preset and model take.
        loading: how a configuration is fetched: its revision, and whether code of its own may run.

    Raises:
        PolicyError: the preset is unknown, or preset and model share no modality at the preset's locations.
        DataError: there is no such model.
        UnsupportedModelError: no adapter knows its architecture.

    Example:
        >>> preset_policy("divprune", 0.25, model="qwen2.5-vl-7b").label()
        'image projector divprune 0.25; video projector divprune 0.25'
    """
    preset = get_preset(name)
    checkpoint = model if isinstance(model, Checkpoint) else find_checkpoint(model, loading)
    bound = checkpoint.bound
    fitting = [modality for modality in preset.modalities if _fits(preset, modality, bound)]
    chosen = fitting if modalities is None else list(modalities)
    if not chosen or not {*chosen} <= {*fitting}:
        raise PolicyError(f"{name}: {_takes(preset)}; the model offers {_offered(bound)}")
    stages = [
        stage
        for modality in chosen
        for stage in preset.build(
            modality, bound.depths, preset.published(modality, bound.family) if keep is None else keep
        )
    ]
    return Policy.of(stages, checkpoint.reference).model_copy(update={"note": _note(preset)})


def _fits(preset: Preset, modality: Modality, bound: BoundAdapter) -> bool:
    """Whether every part that acts on a modality can stand where it is published on a model."""
    return all(
        bound.refusal(MECHANISMS[part.mechanism], modality, part.location) is None
        for part in preset.parts_of(modality, bound.family)
    )


def _takes(preset: Preset) -> str:
    reads = f" and reads {', '.join(preset.needs)}" if preset.needs else ""
    return f"acts on {', '.join(preset.modalities)} at {', '.join(preset.locations)}{reads}"


def _offered(bound: BoundAdapter) -> str:
    return "; ".join(f"{modality} at {', '.join(locations)}" for modality, locations in bound.offers.items())


def _note(preset: Preset) -> str:
    """What a policy file says of where it comes from."""
    paper = f" (arXiv {preset.paper})" if preset.paper else ""
    adaptation = f"; adaptation: {preset.adaptation}" if preset.adaptation else ""
    return f"preset {preset.name}{paper}: published settings, not measured here{adaptation}"


def every_policy(
    keep: float, *, model: str | Checkpoint | None = None, loading: Loading = AS_STORED
) -> dict[str, Policy]:
    """Every preset that a model takes, by name, as a policy at one keep ratio; arguments as of `preset_policy`."""
    checkpoint = model if isinstance(model, Checkpoint) else find_checkpoint(model, loading)
    out = {}
    for name in PRESETS:
        try:
            out[name] = preset_policy(name, keep, model=checkpoint)
        except PolicyError:
            continue
    return out


def save_every_policy(
    folder: str | Path, keep: float, *, model: str | Checkpoint | None = None, loading: Loading = AS_STORED
) -> list[Path]:
    """Write every preset that a model takes as ``NAME-KEEP.yaml`` in a folder; arguments as of `preset_policy`.

    Returns:
        The files, in the catalogue's order.

    Raises:
        DataError: a file cannot be written.
    """
    policies = every_policy(keep, model=model, loading=loading)
    return [policy.save(Path(folder) / f"{name}-{keep:g}.yaml") for name, policy in policies.items()]
