"""Steps of published methods that go on over many layers."""

from __future__ import annotations

from autotc.presets.base import Part
from autotc.vocabulary import Modality


def seats(modality: Modality, mean: float, window: int) -> tuple[Part, ...]:
    """SEATS for one modality, of which the share ``mean`` is left on average over the layers."""
    only = (modality,)
    return (
        Part("seats", "projector", keep=round(1.4 * mean, 4), params={"window": window}, modalities=only),
        Part("window_attention", "decoder", keep=round(1.3017 * mean, 4), layer=(16, 28), modalities=only),
        Part("window_attention", "decoder", keep=round(1.0347 * mean, 4), layer=(18, 28), modalities=only),
        Part("window_attention", "decoder", keep=round(0.309 * mean, 4), layer=(20, 28), modalities=only),
        Part("withdraw", "decoder", keep=mean, layer=(23, 28), modalities=only, fixed=1e-6),
    )


def aim(modality: Modality, merge: str, merged: float, first: int, depth: int) -> tuple[Part, ...]:
    """AIM for one modality.

    Args:
        modality: to compress.
        merge: mechanism that merges before the language model.
        merged: share that it leaves.
        first: layer of ``depth`` before which an eighth of that goes, as before each of the six next; the last eighth
            goes before the one behind these.
        depth: layers of the language model.
    """
    only = (modality,)
    return (
        Part(merge, "projector", keep=merged, modalities=only),
        *(
            Part("attention_rank", "decoder", keep=(7 - i) / 8 * merged, layer=(first + i, depth), modalities=only)
            for i in range(7)
        ),
        Part("withdraw", "decoder", keep=merged / 8, layer=(first + 7, depth), modalities=only, fixed=1e-6),
    )
