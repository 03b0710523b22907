"""Read the policy from an engine's configuration, refuse what cannot be served, and choose the class that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.logger import init_logger

from autotc.errors import PolicyError
from autotc.mechanisms import TOWER_SCORES
from autotc.models.registry import bind_config
from autotc.policy import Policy
from autotc.serve.served import ATTRIBUTE, ServedPolicy, read_served
from autotc.serve.support import SERVED, serve_refusal
from autotc.serve.vllm.media import PrunedMultiModalConfig

if TYPE_CHECKING:
    from vllm.config import VllmConfig

    from autotc.lazy import PreTrainedConfig

_LOGGER = init_logger("vllm.autotc")

CLASSES = {
    "LlavaForConditionalGeneration": "autotc.serve.vllm.llava:ServedLlava",
    "LlavaOnevisionForConditionalGeneration": "autotc.serve.vllm.llava_onevision:ServedLlavaOnevision",
    "Qwen2_5_VLForConditionalGeneration": "autotc.serve.vllm.qwen2_5_vl:ServedQwen25VL",
    "Qwen3VLForConditionalGeneration": "autotc.serve.vllm.qwen3_vl:ServedQwen3VL",
}
"""Class of a model in vLLM -> module and class that serves a policy for it; imported once it is needed."""

_DRAFTERS_THAT_SEE_NO_PICTURES = frozenset({"ngram", "ngram_gpu", "suffix"})


def served_name(architecture: str) -> str:
    """Name under which the class that serves a policy is registered."""
    return f"Autotc{architecture}"


def configure(vllm_config: VllmConfig) -> None:
    """Have the policy served that ``additional_config`` names; without one, nothing is changed.

    Args:
        vllm_config: of vLLM, about to be used.

    Raises:
        PolicyError: the policy is wrong, or the engine cannot run it as it was configured.
    """
    settings = vllm_config.additional_config
    if not isinstance(settings, dict) or ATTRIBUTE not in settings:
        return
    served = read_served(settings[ATTRIBUTE])
    model_config = vllm_config.model_config
    architecture = model_config.architecture
    _check(served, architecture, model_config.hf_config)
    _check_engine(served.policy, vllm_config)
    config = model_config.hf_config
    setattr(config, ATTRIBUTE, {"path": served.path, "text": served.text, "architecture": architecture})
    config.architectures = [served_name(architecture)]
    if not model_config.uses_mrope:
        # Positions of a pruned prompt have gaps: rows of them, one for each axis of M-RoPE, are how the engine takes
        # positions from a model. The language model's own rotary embedding is left alone.
        config.rope_parameters = {"mrope_section": [0, 0, 0]}
    model_config.multimodal_config.__class__ = PrunedMultiModalConfig
    _say(served)


def _check(served: ServedPolicy, architecture: str, config: PreTrainedConfig) -> None:
    """See that a policy is for this model and can be served.

    Raises:
        PolicyError: naming the stage that cannot, and why.
    """
    policy = served.policy
    for i, stage in enumerate(policy.stages):
        reason = serve_refusal(stage, architecture)
        if reason is not None:
            raise PolicyError(
                f"{served.path}: stages.{i} ({stage.label()}): {reason}; autotc export {served.path} --to vllm shows"
                " the nearest policy that vLLM runs"
                if architecture in SERVED
                else f"{served.path}: stages.{i} ({stage.label()}): {reason}"
            )
    try:
        bind_config(config, architecture).validate(policy)
    except PolicyError as error:
        raise PolicyError(f"{served.path}: {error}") from error


def _check_engine(policy: Policy, vllm_config: VllmConfig) -> None:
    """See that the engine's own settings leave a policy what it needs.

    Raises:
        PolicyError: naming the setting.
    """
    model_config, parallel = vllm_config.model_config, vllm_config.parallel_config
    media = model_config.multimodal_config
    if media is None:
        raise PolicyError("additional_config.autotc: the model is served for text alone, so there is nothing to reduce")
    if media.video_pruning_rate:
        raise PolicyError("video_pruning_rate: the policy prunes already; leave out one of the two")
    if parallel.pipeline_parallel_size > 1:
        raise PolicyError("pipeline_parallel_size: 1 is right under a policy; use tensor_parallel_size")
    drafter = vllm_config.speculative_config
    if drafter is not None and drafter.method not in _DRAFTERS_THAT_SEE_NO_PICTURES:
        raise PolicyError(
            f"speculative_config.method: {drafter.method} reads pictures' tokens, which the policy has reduced; ngram"
            " or suffix is right"
        )
    if vllm_config.lora_config is not None and getattr(vllm_config.lora_config, "enable_tower_connector_lora", False):
        raise PolicyError("enable_tower_connector_lora: counts a tower's tokens by the prompt's; leave it out")
    _check_tower(policy, vllm_config)


def _check_tower(policy: Policy, vllm_config: VllmConfig) -> None:
    """See that a tower shows the attention that a stage reads.

    Raises:
        PolicyError: naming the setting that hides it.
    """
    parallel = vllm_config.parallel_config
    reading = [s for s in policy.stages if s.location == "projector" and TOWER_SCORES & {*s.build().needs}]
    if not reading:
        return
    if parallel.tensor_parallel_size > 1:
        raise PolicyError(
            f"tensor_parallel_size: {parallel.tensor_parallel_size} given; {reading[0].mechanism} reads the tower's"
            " attention, of which each rank has a part; 1 is right, or a mechanism that reads features alone"
        )
    if vllm_config.compilation_config.compile_mm_encoder:
        raise PolicyError(
            f"compilation_config.compile_mm_encoder: {reading[0].mechanism} reads the tower's queries and keys, which a"
            " compiled tower does not show; leave it out"
        )


def _say(served: ServedPolicy) -> None:
    _LOGGER.info("autotc serves policy %s (hash %s): %s", served.path, served.hash, served.policy.label())
