"""vLLM: EVS and VidCom2 on video, a cap on the pixels of images.

Read in vllm-project/vllm 0.33.0: `config/multimodal.py` (``video_pruning_rate``, ``video_pruning_method``),
`engine/arg_utils.py` (their flags), `multimodal/video_prune/evs.py` and `vidcom2.py` (counts), and in
`model_executor/models/` which classes take part in pruning. First versions by looking into the releases. VidCom2's flag
was once proposed as ``--video-retention-ratio`` (pull request 47750); no release has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from autotc.export.base import Capability, Deployment, Engine
from autotc.mechanisms import pruning_rate
from autotc.policy import Stage

_QWEN3 = {
    "Qwen3VLForConditionalGeneration": "0.13.0",
    "Qwen3VLMoeForConditionalGeneration": "0.13.0",
}
_POSITIONS = (
    "text behind a pruned video takes the positions that the engine works out anew (recompute_mrope_positions in"
    " multimodal/video_prune/evs.py), where autotc keeps every position"
)


class VLLM(Engine):
    """``vllm serve`` and ``vllm.LLM``."""

    name = "vllm"
    title = "vLLM"
    version = "0.33.0"
    capabilities = (
        Capability(
            "video",
            "projector",
            "evs",
            {
                "Qwen2_5_VLForConditionalGeneration": "0.11.0",
                **_QWEN3,
                "NemotronH_Nano_VL_V2": "0.11.1",
            },
            {"counting": "engine"},
            note=_POSITIONS,
        ),
        Capability(
            "video",
            "projector",
            "vidcom2",
            dict.fromkeys(_QWEN3, "0.27.0"),
            {"counting": "engine"},
            note=_POSITIONS,
        ),
    )
    pixel_models = frozenset(
        {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3VLForConditionalGeneration"}
    )

    def render(self, stages: Sequence[Stage], model: str, pixels: int | None) -> Deployment:
        config: dict[str, object] = {}
        for stage in stages:
            if stage.location == "input":
                assert pixels is not None  # `plan_export` refuses it otherwise
                # Under images_kwargs, so that videos keep their own size.
                config["mm_processor_kwargs"] = {"images_kwargs": {"max_pixels": int(stage.final_ratio * pixels)}}
                continue
            config["video_pruning_rate"] = pruning_rate(stage.final_ratio)
            if stage.mechanism != "evs":  # the default; older releases have no such flag
                config["video_pruning_method"] = stage.mechanism
        command = ["vllm", "serve", model]
        for key, value in config.items():
            command += ["--" + key.replace("_", "-"), json.dumps(value) if isinstance(value, dict) else str(value)]
        arguments = "".join(f", {key}={value!r}" for key, value in config.items())
        return Deployment(
            tuple(command),
            f"vllm.LLM({model!r}{arguments})",
            {key.replace("_", "-"): value for key, value in config.items()},
        )
