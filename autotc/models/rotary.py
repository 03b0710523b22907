"""Language models of pre-norm layers with rotary embedding."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.adapter import Adapter
from autotc.models.chat import QWEN_CHAT, last_turn
from autotc.models.shapes import DecoderShape, LayerShape, Projections, child


class RotaryDecoder(Adapter):
    """A language model of pre-norm layers with rotary embedding, under ``model.language_model``."""

    def decoder_shape(self, config: PreTrainedConfig) -> DecoderShape:
        text = config.get_text_config()
        layers = tuple(self.layer_shape(text, index) for index in range(text.num_hidden_layers))
        return DecoderShape(text.hidden_size, text.vocab_size, layers)

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        """Dimensions of one layer.

        Args:
            text: configuration of the language model.
            index: of the layer.
        """
        return LayerShape(
            heads=text.num_attention_heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            hidden=text.intermediate_size,
        )

    def base(self, model: nn.Module) -> nn.Module:
        return child(model, "model")

    def language_model(self, model: nn.Module) -> nn.Module:
        return child(self.base(model), "language_model")

    def layers(self, model: nn.Module) -> Sequence[nn.Module]:
        return list(child(self.language_model(model), "layers").children())

    def layer_norm(self, layer: nn.Module) -> nn.Module:
        return child(layer, "input_layernorm")

    def layer_projections(self, layer: nn.Module) -> Projections:
        attention: Any = layer.self_attn
        width = attention.head_dim
        heads, groups = attention.q_proj.out_features // width, attention.k_proj.out_features // width
        norms, by_head = None, True
        if hasattr(attention, "q_norm"):
            norms = (attention.q_norm, attention.k_norm)
            by_head = attention.q_norm.weight.shape[0] == width
        return Projections(
            attention.q_proj,
            attention.k_proj,
            heads,
            groups,
            attention.scaling,
            norms=norms,
            norm_heads=by_head,
            value=attention.k_proj if attention.v_proj is None else attention.v_proj,
            value_norm=getattr(attention, "v_norm", None),
            rotation=self.rotation(attention),
        )

    def rotation(self, attention: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
        """The function that rotates queries and keys of an attention, which stands beside its class."""
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        own = getattr(sys.modules[type(attention).__module__], "apply_rotary_pos_emb", apply_rotary_pos_emb)
        rotation: Callable[..., tuple[Tensor, Tensor]] = own
        return rotation

    def query_mask(self, config: PreTrainedConfig, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        opening, closing, template = self.chat(config)
        excluded = torch.tensor([*template, *self.placeholders(config).values()], device=input_ids.device)
        out = last_turn(input_ids, opening, closing) & ~torch.isin(input_ids, excluded)
        return out if attention_mask is None else out & attention_mask.bool()

    def chat(self, config: PreTrainedConfig) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        marks = getattr(config, "chat_marks", None)
        if marks is not None:
            end = marks["end"]
            return marks["user"], end if isinstance(end, Sequence) else (end,), marks["template"]
        return self.released_chat()

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Ids of the user's turn, as `chat` returns them, in the vocabulary of the released checkpoints."""
        return QWEN_CHAT
