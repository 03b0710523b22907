"""All presets by name."""

from __future__ import annotations

from collections.abc import Iterable

from autotc.errors import PolicyError, quote
from autotc.names import nearest
from autotc.presets.attention import ATTENTION
from autotc.presets.base import Preset
from autotc.presets.control import CONTROL
from autotc.presets.query import QUERY
from autotc.presets.similarity import SIMILARITY
from autotc.presets.transformation import TRANSFORMATION


def by_name(presets: Iterable[Preset]) -> dict[str, Preset]:
    """Presets by name, in order.

    Raises:
        PolicyError: two have one name.
    """
    out: dict[str, Preset] = {}
    for preset in presets:
        if preset.name in out:
            raise PolicyError(f"presets: two are named {preset.name!r}; give each a name of its own, and list it once")
        out[preset.name] = preset
    return out


PRESETS: dict[str, Preset] = by_name((*CONTROL, *TRANSFORMATION, *SIMILARITY, *ATTENTION, *QUERY))
"""Presets by name."""


def get_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        PolicyError: the name is unknown.
    """
    if name not in PRESETS:
        raise PolicyError(f"preset: unknown preset {quote(name)}; {nearest(name, sorted(PRESETS), len(PRESETS))}")
    return PRESETS[name]
