"""All presets by name."""

from __future__ import annotations

from autotc.errors import PolicyError, quote
from autotc.names import nearest
from autotc.presets.attention import ATTENTION
from autotc.presets.base import Preset
from autotc.presets.control import CONTROL
from autotc.presets.query import QUERY
from autotc.presets.similarity import SIMILARITY
from autotc.presets.transformation import TRANSFORMATION

_ALL = (*CONTROL, *TRANSFORMATION, *SIMILARITY, *ATTENTION, *QUERY)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Presets by name."""
if len(PRESETS) != len(_ALL):
    raise RuntimeError("two presets share a name")


def get_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        PolicyError: the name is unknown.
    """
    if name not in PRESETS:
        raise PolicyError(f"preset: unknown preset {quote(name)}; {nearest(name, sorted(PRESETS), len(PRESETS))}")
    return PRESETS[name]
