"""OpenVINO GenAI: CDPruner on images, and on the videos of Qwen3-VL.

Read in openvinotoolkit/openvino.genai: `src/cpp/include/openvino/genai/generation_config.hpp` (``pruning_ratio``, in
percent; ``relevance_weight``), in `src/cpp/src/visual_language/` the folder `cdpruner/` (counts, kernel,
``CDPRUNER_SPLIT_THRESHOLD``), `vision_token_pruning_processor.cpp` (one selection for each vision region),
`qwen2vl/classes.cpp` (a request with videos is refused) and `qwen3_vl/classes.cpp` (videos are pruned too), and
`site/docs/concepts/optimization-techniques/visual-token-pruning.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotc.export.built_in import BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Target
from autotc.policy import Policy, Stage

_TEXT = (
    "relevance is to the mean of all text of the prompt, system and template included, where autotc reads the last"
    " user turn; text behind an image starts behind its last kept position, where autotc keeps every position; "
)


class OpenVINO(BuiltInEngine):
    """``openvino_genai.VLMPipeline``; settings go with each request."""

    name = "openvino"
    title = "OpenVINO GenAI"
    version = "2026.4.1"
    capabilities = (
        Capability(
            "image",
            "projector",
            "cdpruner",
            {
                "Qwen2VLForConditionalGeneration": Versions("2026.0"),
                "Qwen2_5_VLForConditionalGeneration": Versions("2026.0"),
                "Qwen3VLForConditionalGeneration": Versions("2026.3"),
            },
            {"counting": "engine"},
            free=("relevance_weight",),
            note=_TEXT
            + "the rate holds for the whole request: Qwen2-VL and Qwen2.5-VL refuse videos beside it, Qwen3-VL"
            " prunes them too, each frame by itself",
        ),
        Capability(
            "video",
            "projector",
            "cdpruner",
            {"Qwen3VLForConditionalGeneration": Versions("2026.3")},
            {"counting": "engine"},
            free=("relevance_weight",),
            note=_TEXT + "images of the same request are pruned at the same rate",
        ),
    )

    def refusal(
        self, stage: Stage, architecture: str | None, before: Sequence[Stage] = (), pixels: int | None = None
    ) -> str | None:
        reason = super().refusal(stage, architecture, before, pixels)
        if reason is None and any(self._settings(other) != self._settings(stage) for other in before):
            return f"{self.title} has one setting for a request, and {before[0].label()} has another"
        return reason

    def keep_ratio(self, keep_ratio: float) -> float:
        return round(1 - self.percent(keep_ratio) / 100, 2)

    @staticmethod
    def percent(keep_ratio: float) -> int:
        """What is pruned, as ``pruning_ratio`` says it: a whole number up to 99."""
        return min(99, round((1.0 - keep_ratio) * 100))

    def render(self, policy: Policy, target: Target) -> Deployment:
        config: dict[str, object] = {}
        if policy.stages:  # all have the same
            config["pruning_ratio"], config["relevance_weight"] = self._settings(policy.stages[0])
        arguments = "".join(f", {key}={value!r}" for key, value in config.items())
        # One determinant over all tokens, as published; by default each half of them has its own.
        environment = {"CDPRUNER_SPLIT_THRESHOLD": "0"} if policy.stages else {}
        media = "".join(f", {modality}s={modality}s" for modality in policy.modalities or ("image",))
        python = f"openvino_genai.VLMPipeline({target.model!r}, 'CPU').generate(prompt{media}{arguments})"
        return Deployment((), python, config, environment)

    def _settings(self, stage: Stage) -> tuple[int, float]:
        return self.percent(stage.final_ratio), float(stage.build().params.model_dump()["relevance_weight"])
