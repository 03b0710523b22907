"""Published methods as policies: each mechanism at the place its paper puts it."""

from autotc.presets.base import Preset
from autotc.presets.catalogue import PRESETS, get_preset

__all__ = ["PRESETS", "Preset", "get_preset"]
