"""TensorRT-LLM: EVS on video of one model family.

Read in NVIDIA/TensorRT-LLM: `tensorrt_llm/inputs/evs.py` (counts), `modeling_nemotron_nano.py` in
`tensorrt_llm/_torch/models/` (the one class that takes part), `trtllm-serve`'s options (``--video_pruning_rate``, pull
request 12194) and the documentation of `MultimodalConfig` of 1.4.0rc1 (``multimodal_config.video_pruning_rate``, pull
request 15640). Releases before 1.3 read the environment variable ``TLLM_VIDEO_PRUNING_RATIO``. Only these files were
read, not a release as a whole.
"""

from __future__ import annotations

from autotc.export.built_in import BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Target
from autotc.mechanisms import pruning_rate
from autotc.policy import Policy


class TensorRTLLM(BuiltInEngine):
    """``trtllm-serve`` and ``tensorrt_llm.LLM``."""

    name = "tensorrt-llm"
    title = "TensorRT-LLM"
    version = "1.4.0rc1"
    capabilities = (
        Capability(
            "video",
            "projector",
            "evs",
            {"NemotronH_Nano_VL_V2": Versions("1.3")},
            {"counting": "engine"},
            note="releases before 1.3 read the rate from the environment variable TLLM_VIDEO_PRUNING_RATIO",
        ),
    )

    def render(self, policy: Policy, target: Target) -> Deployment:
        command = ["trtllm-serve", target.model]
        if not policy.stages:
            return Deployment(tuple(command), f"tensorrt_llm.LLM({target.model!r})", {})
        rate = pruning_rate(policy.stages[0].final_ratio)
        return Deployment(
            (*command, "--video_pruning_rate", str(rate)),
            f"tensorrt_llm.LLM({target.model!r}, multimodal_config={{'video_pruning_rate': {rate}}})",
            {"multimodal_config": {"video_pruning_rate": rate}},
        )
