"""TensorRT Edge-LLM: DART on the embeddings of images and videos, for Qwen-VL models.

Read in NVIDIA/TensorRT-Edge-LLM: the user guide on visual-token pruning (flags, counts, limits; there from 0.11.0
on, not in 0.8.0), `cpp/runtime/preprocess/dartPruner.h` (pivots of the input embeddings), and the help of
`examples/llm/llm_inference`.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotc.export.built_in import BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Target
from autotc.policy import Policy, Stage

_MODELS = {
    "Qwen2_5_VLForConditionalGeneration": Versions("0.11.0"),
    "Qwen3VLForConditionalGeneration": Versions("0.11.0"),
}
_NOTE = (
    "text pivots are of all text of the prompt, where autotc reads the last user turn; each image, and each contiguous"
    " span of a video, is reduced by itself; only requests of batch 1 with 16 visual tokens or more, without a reused"
    " system prompt and without speculative decoding: others run uncompressed"
)


class TensorRTEdgeLLM(BuiltInEngine):
    """``llm_inference`` on prebuilt engines; one setting for images and videos alike."""

    name = "tensorrt-edge-llm"
    title = "TensorRT Edge-LLM"
    version = "0.11.1"
    capabilities = tuple(
        Capability(
            modality,
            "projector",
            "dart_embedding",
            _MODELS,
            {"counting": "engine"},
            free=("item_pivots", "text_pivots"),
            note=_NOTE,
        )
        for modality in ("image", "video")
    )

    def refusal(
        self, stage: Stage, architecture: str | None, before: Sequence[Stage] = (), pixels: int | None = None
    ) -> str | None:
        reason = super().refusal(stage, architecture, before, pixels)
        if reason is None and any((s.final_ratio, s.params) != (stage.final_ratio, stage.params) for s in before):
            return f"{self.title} has one setting for all modalities, and {before[0].label()} has another"
        return reason

    def render(self, policy: Policy, target: Target) -> Deployment:
        command = [
            "llm_inference",
            "--engineDir",
            f"{target.model}/llm",
            "--multimodalEngineDir",
            f"{target.model}/visual",
        ]
        if not policy.stages:
            return Deployment(tuple(command), "", {})
        stage = policy.stages[0]
        pivots = stage.build().params.model_dump()
        config = {
            "dartReductionRatio": round(1 - stage.final_ratio, 6),
            "dartPivotImageTokens": pivots["item_pivots"],
            "dartPivotTextTokens": pivots["text_pivots"],
        }
        command += ["--visualPrune", *(word for key, value in config.items() for word in (f"--{key}", str(value)))]
        return Deployment(tuple(command), "", config)
