"""Language models whose layers are gated delta-nets with attention in between: Qwen3.5's, alone or inside others."""

from __future__ import annotations

from dataclasses import replace

from autotc.lazy import PreTrainedConfig, nn
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import LayerShape, Projections, Recurrence


class HybridDecoder(RotaryDecoder):
    """A decoder most of whose layers keep a state in place of keys and values; the others' attention has a gate."""

    @staticmethod
    def recurrent(text: PreTrainedConfig) -> tuple[int, ...]:
        """Layers without attention, by the configuration of the language model."""
        return tuple(index for index, kind in enumerate(text.layer_types) if kind == "linear_attention")

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        hidden, routes = getattr(text, "intermediate_size", 0), 0
        if getattr(text, "num_experts", 0):
            # The router, and the gate of the expert that all tokens share.
            hidden = text.num_experts_per_tok * text.moe_intermediate_size + text.shared_expert_intermediate_size
            routes = text.num_experts + 1
        heads, groups = text.num_attention_heads, text.num_key_value_heads
        shape = LayerShape(heads, groups, text.head_dim, hidden, routes, gated=True)
        if text.layer_types[index] != "linear_attention":
            return shape
        recurrence = Recurrence(
            text.linear_num_key_heads,
            text.linear_key_head_dim,
            text.linear_num_value_heads,
            text.linear_value_head_dim,
            text.linear_conv_kernel_dim,
        )
        return replace(shape, recurrence=recurrence)

    def layer_projections(self, layer: nn.Module) -> Projections:
        projections = super().layer_projections(layer)
        return replace(projections, heads=projections.heads // 2, gated=True)
