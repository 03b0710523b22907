"""The presets, one entry each."""

from __future__ import annotations

import difflib

from autotc.errors import PolicyError
from autotc.mechanisms import MECHANISMS, Location, Modality
from autotc.models.base import Depths
from autotc.policy import Stage
from autotc.presets.base import Builder, Preset


def _at(mechanism: str, location: Location) -> Builder:
    """One stage at a location without layers."""

    def build(modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        return (Stage(modality=modality, location=location, layer=None, mechanism=mechanism, keep_ratio=keep),)

    return build


def _encoder(mechanism: str) -> Builder:
    """One stage in the middle of the tower, where removing all at once saves as much as ToMe does block by block."""

    def build(modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        if not depths.encoder.get(modality):
            raise PolicyError(f"location: {mechanism} acts in the {modality} tower, and the model has none")
        layer = max(0, depths.encoder[modality] // 2 - 1)
        return (Stage(modality=modality, location="encoder", layer=layer, mechanism=mechanism, keep_ratio=keep),)

    return build


def _decoder(mechanism: str, layer: int) -> Builder:
    """One stage before a layer of the language model, at most the last."""

    def build(modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
        at = min(layer, depths.decoder - 1)
        return (Stage(modality=modality, location="decoder", layer=at, mechanism=mechanism, keep_ratio=keep),)

    return build


def _pyramid(modality: Modality, depths: Depths, keep: float) -> tuple[Stage, ...]:
    """Equal steps at a quarter, a half and three quarters of the depth; keep = 0.125 gives the published 0.5 a step."""
    layers = {depths.decoder * i // 4: keep if i == 3 else keep ** (i / 3) for i in (1, 2, 3)}
    stage = Stage(
        modality=modality, location="decoder", layer=None, mechanism="pyramiddrop", keep_ratio=None, layers=layers
    )
    return (stage,)


def _preset(
    name: str,
    location: Location,
    build: Builder,
    paper: str | None,
    adaptation: str | None = None,
    flash_safe: bool = True,
) -> Preset:
    """A preset of the mechanism of the same name."""
    cls = MECHANISMS[name]
    return Preset(name, cls.family, cls.modalities, (location,), cls.needs, paper, flash_safe, adaptation, build)


_ALL = (
    _preset("random", "projector", _at("random", "projector"), None),
    _preset("uniform_stride", "projector", _at("uniform_stride", "projector"), None),
    _preset("downsample", "input", _at("downsample", "input"), "2510.07143"),
    _preset(
        "avg_pool",
        "projector",
        _at("avg_pool", "projector"),
        "2404.16994",
        "near-equal boxes that do not overlap, so that every count is met; frames are joined only below one token each",
    ),
    _preset(
        "tome",
        "encoder",
        _encoder("tome"),
        "2210.09461",
        "one stage in the middle of the tower, in rounds, in place of a few tokens after every block",
    ),
    _preset("divprune", "projector", _at("divprune", "projector"), "2503.02175"),
    _preset(
        "a_tome",
        "encoder",
        _encoder("a_tome"),
        "2306.16009",
        "training-free; one stage in the middle of the tower, its threshold set to leave the budget",
    ),
    _preset(
        "dyn_ttm",
        "projector",
        _at("dyn_ttm", "projector"),
        "2411.15024",
        "the merging before the language model alone, without the pruning of the KV cache while decoding",
    ),
    _preset("evs", "projector", _at("evs", "projector"), "2510.14624"),
    _preset("fastv", "decoder", _decoder("fastv", 2), "2403.06764", flash_safe=False),
    _preset(
        "pyramiddrop",
        "decoder",
        _pyramid,
        "2410.17247",
        "keep is the ratio after the last of three equal steps (cube root each); 0.125 is the published 0.5 a step",
    ),
    _preset(
        "visionzip",
        "projector",
        _at("visionzip", "projector"),
        "2412.04467",
        "received attention for the CLS token's, features after the projector for the tower's",
        flash_safe=False,
    ),
    _preset("rep_shift", "decoder", _decoder("rep_shift", 2), "2508.00367"),
    _preset(
        "cdpruner",
        "projector",
        _at("cdpruner", "projector"),
        "2506.10967",
        "relevance by the model's own text embeddings for CLIP's, scaled over the item for the batch",
    ),
    _preset(
        "text_similarity",
        "projector",
        _at("text_similarity", "projector"),
        "2410.17434",
        "tokens of the item in place of whole frames",
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Presets by name."""


def get_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        PolicyError: the name is unknown.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(PRESETS))}"
        raise PolicyError(f"preset: unknown preset {name!r}; {hint}")
    return PRESETS[name]
