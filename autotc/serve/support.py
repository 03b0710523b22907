"""What the plug-in for vLLM serves, and why it refuses the rest; known without the engine."""

from __future__ import annotations

from autotc.mechanisms import TEXT_SCORES, Score
from autotc.policy import Stage

SERVED: dict[str, tuple[str, ...]] = {
    "LlavaForConditionalGeneration": ("image",),
    "LlavaOnevisionForConditionalGeneration": ("image", "video"),
    "Qwen2_5_VLForConditionalGeneration": ("image", "video"),
    "Qwen3VLForConditionalGeneration": ("image", "video"),
}
"""Class of a model in transformers and in vLLM -> modalities that the plug-in reduces."""

STAMPED = frozenset({"Qwen3VLForConditionalGeneration"})
"""Classes whose prompts say the time in front of each frame of a video."""

_FUSED: frozenset[Score] = frozenset({"concurrent_retention", "concurrent_cosine"})


def serve_refusal(stage: Stage, architecture: str | None) -> str | None:
    """Why the plug-in for vLLM cannot run a stage; None where it can.

    Args:
        stage: of a policy.
        architecture: class of the model to be served; None for any that is served.
    """
    if architecture is not None and architecture not in SERVED:
        return (
            f"autotc serves {', '.join(sorted(SERVED))} in vLLM, not {architecture}; a new family is one file in"
            " autotc/serve/vllm/"
        )
    modalities = {m for name, ms in SERVED.items() if architecture in (None, name) for m in ms}
    if stage.modality not in modalities:
        return f"autotc reduces {' and '.join(sorted(modalities))} of {architecture or 'models'} in vLLM"
    if stage.location == "encoder":
        return "inside the tower vLLM runs kernels on packed rows that nothing can be taken out of"
    if stage.location == "decoder":
        return "vLLM's paged keys and values hold every token in every layer, so none can leave between two layers"
    mechanism = stage.build()
    if stage.budget is not None:
        return (
            "budget: adaptive gives each item a count of its own, and vLLM lays out a prompt before a picture is"
            " encoded; budget: fixed keeps to the ratio"
        )
    if mechanism.adaptive:
        return (
            "adaptive: true sets its own count, and vLLM lays out a prompt before a picture is encoded; adaptive: false"
            " keeps to the ratio"
        )
    if _FUSED & set(mechanism.needs):
        return f"{stage.mechanism} is guided by {mechanism.companion}, which vLLM encodes apart"
    if architecture in STAMPED and stage.modality == "video" and TEXT_SCORES & set(mechanism.needs):
        return (
            f"{stage.mechanism} reads the query, of which the time stamps of {architecture}'s frames are a part that"
            " vLLM's caches do not know"
        )
    return None
