"""Every model family, and the adapter of a model, an architecture or a processor."""

from __future__ import annotations

from typing import Any

from autotc.errors import UnsupportedModelError, quote
from autotc.lazy import PreTrainedConfig, nn
from autotc.models.adapter import Adapter
from autotc.models.bound import BoundAdapter
from autotc.models.gemma3 import Gemma3
from autotc.models.gemma4 import Gemma4
from autotc.models.glm4v import Glm4v
from autotc.models.internvl import InternVL
from autotc.models.llava import Llava
from autotc.models.llava_next import LlavaNext
from autotc.models.llava_onevision import LlavaOnevision
from autotc.models.minicpmv import MiniCPMV
from autotc.models.mistral3 import Mistral3
from autotc.models.qwen2_5_omni import Qwen25OmniThinker
from autotc.models.qwen2_5_vl import Qwen25VL
from autotc.models.qwen2_audio import Qwen2Audio
from autotc.models.qwen2_vl import Qwen2VL
from autotc.models.qwen3_5 import Qwen35
from autotc.models.qwen3_omni import Qwen3OmniThinker
from autotc.models.qwen3_vl import Qwen3VL
from autotc.models.smolvlm import SmolVLM
from autotc.models.video_llama_3 import VideoLlama3
from autotc.models.voxtral import Voxtral
from autotc.names import nearest
from autotc.versions import check_transformers

ADAPTERS: tuple[Adapter, ...] = (
    Llava(),
    LlavaNext(),
    LlavaOnevision(),
    Qwen2VL(),
    Qwen25VL(),
    Qwen3VL(),
    Qwen35(),
    Qwen25OmniThinker(),
    Qwen3OmniThinker(),
    Glm4v(),
    InternVL(),
    Qwen2Audio(),
    Gemma3(),
    Gemma4(),
    MiniCPMV(),
    Mistral3(),
    SmolVLM(),
    VideoLlama3(),
    Voxtral(),
)
"""Every family the runtime knows."""


def find_architecture(name: str) -> Adapter:
    """The adapter of a class of transformers, by its name.

    Raises:
        UnsupportedModelError: no adapter knows the class; the message lists those that are known.
    """
    for adapter in ADAPTERS:
        if name in adapter.architectures:
            return adapter
    known = [architecture for adapter in ADAPTERS for architecture in adapter.architectures]
    hint = nearest(name, known, listed=0) or f"supported: {', '.join(known)}"
    raise UnsupportedModelError(
        f"{quote(name)} is not supported; {hint}. A new family is one file in autotc/models/ (see Adapter)"
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The model of a supported class inside wrappers: PEFT, `torch.compile`, ``DataParallel``, FSDP, DeepSpeed.

    Adapters that PEFT put into its layers (LoRA) are inside, and stay. A model without a wrapper, or of a class that no
    adapter knows, comes back as it is.
    """
    inner: nn.Module | None = model
    while inner is not None and not _supported(inner):
        inner = _inside(inner)
    return model if inner is None else inner


def _supported(model: nn.Module) -> bool:
    return any(type(model).__name__ in adapter.architectures for adapter in ADAPTERS)


def _inside(model: nn.Module) -> nn.Module | None:
    """What a wrapper holds; None for a module that is no wrapper."""
    parts = getattr(model, "_modules", {})
    for name in ("_orig_mod", "module"):  # torch.compile; DataParallel, DistributedDataParallel, FSDP, DeepSpeed
        if parts.get(name) is not None:
            inner: nn.Module = parts[name]
            return inner
    if parts.get("base_model") is not None and hasattr(model, "peft_config"):
        base = parts["base_model"]  # a tuner (LoraModel) that holds the model, or for prompt learning the model itself
        held: nn.Module = getattr(base, "_modules", {}).get("model", base) if not _supported(base) else base
        return held
    return None


def find_adapter(model: nn.Module) -> Adapter:
    """The adapter of a model's class; wrappers are looked through.

    Raises:
        UnsupportedModelError: no adapter knows the class; the message lists those that are known.
    """
    return find_architecture(type(unwrap(model)).__name__)


def bind(model: nn.Module) -> BoundAdapter:
    """The adapter of a model's class, with the model's configuration; wrappers are looked through.

    Raises:
        UnsupportedModelError: no adapter knows the class, or the installed transformers is too old for the family.
    """
    model = unwrap(model)
    bound = bind_config(getattr(model, "config", None), type(model).__name__)
    if bound.adapter.since is not None:
        check_transformers(bound.family, bound.adapter.since)
    return bound


def bind_config(config: PreTrainedConfig, architecture: str) -> BoundAdapter:
    """The adapter of a class of transformers, with a configuration of it; no model is needed.

    Raises:
        UnsupportedModelError: no adapter knows the class.
    """
    return BoundAdapter(find_architecture(architecture), config, architecture)


def processor_adapter(processor: Any) -> Adapter | None:
    """The adapter of a processor's class; None where no adapter knows it."""
    name = type(processor).__name__
    return next((adapter for adapter in ADAPTERS if name in adapter.processors), None)


def find_processor_adapter(processor: Any) -> Adapter:
    """The adapter of a processor's class.

    Raises:
        UnsupportedModelError: no adapter knows the class; the message lists those that are known.
    """
    adapter = processor_adapter(processor)
    if adapter is None:
        known = ", ".join(p for adapter in ADAPTERS for p in adapter.processors)
        raise UnsupportedModelError(f"{type(processor).__name__} is not supported; supported processors: {known}")
    return adapter
