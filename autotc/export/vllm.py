"""vLLM: EVS and VidCom2 on video, a cap on the pixels of images.

Read in vllm-project/vllm 0.33.0: `config/multimodal.py` (``video_pruning_rate``, ``video_pruning_method``),
`engine/arg_utils.py` (their flags), `multimodal/video_prune/evs.py` and `vidcom2.py` (counts), and in
`model_executor/models/` which classes take part in pruning. First versions by looking into the releases. VidCom2's flag
was once proposed as ``--video-retention-ratio`` (pull request 47750); no release has it.

EVS on Qwen3-VL was wrong when it came (issue 30847; pull request 33607 of February 2026 mends it) and broke again with
pull request 34246 (issue 44204, reported for 0.16 to 0.20.2; pull request 44205, approved in June 2026, mends it).
Which release was the first to hold both was not read: 0.24.0, out in July 2026, is taken for it.

In 0.32.0 EXAONE 4.5 prunes as Qwen2.5-VL does, from which it inherits. Qwen3.5 declares pruning as well, but never sets
the method that Qwen3-VL's code then asks for (read, not run): it is left out.
"""

from __future__ import annotations

import json

from autotc.export.built_in import Break, BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Target
from autotc.mechanisms import pruning_rate
from autotc.policy import Policy

_QWEN3 = ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration")
_QWEN3_EVS = Versions(
    "0.13.0",
    (
        Break(
            "0.13.0",
            "0.24.0",
            "a frame's placeholders and the tokens kept of it do not agree in number or position (issues 30847 and"
            " 44204, mended by pull requests 33607 and 44205)",
        ),
    ),
)
_POSITIONS = (
    "text behind a pruned video takes the positions that the engine works out anew (recompute_mrope_positions in"
    " multimodal/video_prune/evs.py), where autotc keeps every position"
)


class VLLM(BuiltInEngine):
    """``vllm serve`` and ``vllm.LLM``, by what they have built in alone."""

    name = "vllm-built-in"
    title = "vLLM"
    version = "0.33.0"
    capabilities = (
        Capability(
            "video",
            "projector",
            "evs",
            {
                "Qwen2_5_VLForConditionalGeneration": Versions("0.11.0"),
                "Exaone4_5_ForConditionalGeneration": Versions("0.32.0"),
                **dict.fromkeys(_QWEN3, _QWEN3_EVS),
                "NemotronH_Nano_VL_V2": Versions("0.11.1"),
            },
            {"counting": "engine"},
            note=_POSITIONS,
        ),
        Capability(
            "video",
            "projector",
            "vidcom2",
            dict.fromkeys(_QWEN3, Versions("0.27.0")),
            {"counting": "engine"},
            note=_POSITIONS,
        ),
    )
    pixel_models = frozenset(
        {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3VLForConditionalGeneration"}
    )

    def render(self, policy: Policy, target: Target) -> Deployment:
        config: dict[str, object] = {}
        for stage in policy.stages:
            if stage.location == "input":
                assert target.pixels is not None  # `refusal` says so otherwise
                # Under images_kwargs, so that videos keep their own size.
                config["mm_processor_kwargs"] = {
                    "images_kwargs": {"max_pixels": int(stage.final_ratio * target.pixels)}
                }
                continue
            config["video_pruning_rate"] = pruning_rate(stage.final_ratio)
            if stage.mechanism != "evs":  # the default; older releases have no such flag
                config["video_pruning_method"] = stage.mechanism
        command = ["vllm", "serve", target.model]
        for key, value in config.items():
            command += ["--" + key.replace("_", "-"), json.dumps(value) if isinstance(value, dict) else str(value)]
        arguments = "".join(f", {key}={value!r}" for key, value in config.items())
        return Deployment(
            tuple(command),
            f"vllm.LLM({target.model!r}{arguments})",
            {key.replace("_", "-"): value for key, value in config.items()},
        )
