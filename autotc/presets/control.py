"""Controls: what every method has to beat."""

from __future__ import annotations

from autotc.presets.base import Part, Preset

CONTROL = (
    Preset("random", (Part("random", "projector"),)),
    Preset("uniform_stride", (Part("uniform_stride", "projector"),)),
    Preset("downsample", (Part("downsample", "input"),), paper="2510.07143"),
)
