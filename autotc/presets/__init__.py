"""Published methods as policies: each mechanism at the place its paper puts it."""

from autotc.presets.base import Part, Preset
from autotc.presets.catalogue import PRESETS, get_preset
from autotc.presets.listing import PresetTable, presets

__all__ = ["PRESETS", "Part", "Preset", "PresetTable", "get_preset", "presets"]
