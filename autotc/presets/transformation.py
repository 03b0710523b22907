"""Published methods that transform the grid."""

from __future__ import annotations

from autotc.presets.base import Part, Preset

TRANSFORMATION = (
    Preset(
        "avg_pool",
        (Part("avg_pool", "projector", keep=0.25),),
        paper="2404.16994",
        adaptation="near-equal boxes that do not overlap, so that every count is met",
    ),
    # 10 of 50 frames at 24 x 12 beside 50 of 4 x 4 tokens, of 50 x 576 (the 7B configuration): 3680 / 28800.
    Preset(
        "slowfast",
        parts=(Part("slowfast", "projector", keep=3680 / 28800),),
        paper="2407.15841",
        adaptation="the fast path skips the slow frames, the paths interleave in time, slow frames are averaged",
        modalities=("video",),
    ),
    # k = 5 adjacent tokens become one (SLAM-ASR).
    Preset(
        "strided_time",
        parts=(Part("strided_time", "projector", keep=1 / 5),),
        paper="2402.08846",
        adaptation="the plain average of adjacent tokens in place of a trained linear layer or convolution",
        modalities=("audio",),
    ),
    # 24 x 24 cropped to 12 x 12 (LLaVA-1.5).
    Preset(
        "frequency",
        parts=(Part("frequency", "projector", keep=144 / 576),),
        paper="2508.06038",
        adaptation="without training; lowest frequencies by radius for a square crop, so that every count is met",
        modalities=("image", "video"),
    ),
)
