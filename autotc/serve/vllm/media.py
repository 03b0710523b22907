"""The engine's configuration of media under a policy."""

from __future__ import annotations

from vllm.config.multimodal import MultiModalConfig


class PrunedMultiModalConfig(MultiModalConfig):  # type: ignore[misc]
    """Says that a model prunes tokens and mends positions, which by itself it says where vLLM's own pruning is on."""

    def is_multimodal_pruning_enabled(self) -> bool:
        return True
