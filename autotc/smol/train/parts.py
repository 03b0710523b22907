"""The model's parts as training runs them: tower and projector, the language model, its low-rank changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoTokenizer, LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from autotc.smol.config import VOCABULARY, build_config
from autotc.smol.language import load_language, load_tokenizer
from autotc.smol.train.losses import KINDS
from autotc.smol.train.recipes import RANK

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Weight matrices of the language model that are changed."""


def prepared(out: Path) -> tuple[PreTrainedTokenizerBase, dict[str, Tensor]]:
    """The language model's tokenizer, and what is known of its word embeddings; kept in the folder.

    Returns:
        The tokenizer; and kind of label -> centred embeddings of its words, (classes, D), and ``length``, the mean
        length of all embeddings.
    """
    tokenizers, words = out / "tokenizer", out / "words.pt"
    if not words.exists():
        tokenizer, embeddings = load_tokenizer(), load_language().get_input_embeddings().weight.detach()
        tokenizer.save_pretrained(tokenizers)
        rows = {kind: _embedded(labels, tokenizer, embeddings) for kind, labels in KINDS.items()}
        torch.save({**rows, "length": embeddings.norm(dim=1).mean()}, words)
    return AutoTokenizer.from_pretrained(tokenizers), torch.load(words, weights_only=True)


def _embedded(labels: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, embeddings: Tensor) -> Tensor:
    ids = [tokenizer(f" {label}", add_special_tokens=False).input_ids for label in labels]
    return torch.stack([embeddings[one].mean(0) for one in ids]) - embeddings.mean(0)


class Sight(nn.Module):
    """Tower and projector of an untrained `smol-vl`, with seeded weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        config = build_config()
        config.text_config.num_hidden_layers, config.text_config.vocab_size = 1, 8
        model = LlavaForConditionalGeneration(config)
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Projected patches (B, F * 144, D) and the projected class tokens (B * F, D).

        Args:
            pixels: (B, F, 192, 192, 3) uint8.
        """
        scaled = pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = self.projector(self.tower(scaled).last_hidden_state)
        return rows[:, 1:].reshape(len(pixels), -1, rows.shape[-1]), rows[:, 0]


class Speech(nn.Module):
    """The language model behind the pictures.

    Args:
        language: with its head.
        binding: whether it gets low-rank changes, which are all of it that moves.
    """

    def __init__(self, language: LlamaForCausalLM, *, binding: bool) -> None:
        super().__init__()
        self.language = language.requires_grad_(False)
        changed: list[nn.Parameter] = []
        if binding:
            torch.manual_seed(6)
            config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(MATRICES))
            self.language = inject_adapter_in_model(config, language)
            changed = [value for name, value in self.language.named_parameters() if "lora_" in name]
        self.changes = nn.ParameterList(changed)

    def forward(self, ids: Tensor, patches: Tensor, at: Tensor) -> Tensor:
        """Logits where ``at`` says so, (T, V).

        Args:
            ids: (B, L) long, padded behind.
            patches: what stands in for the placeholders, (B, F * 144, D).
            at: (B, L) bool.
        """
        shown = ids == VOCABULARY
        embedded = self.language.get_input_embeddings()(ids.masked_fill(shown, 0))
        embedded = embedded.masked_scatter(shown[..., None], patches.to(embedded.dtype))
        hidden = self.language.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        logits: Tensor = self.language.lm_head(hidden[at])
        return logits

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """The language model without its low-rank changes."""
        layers = [module for module in self.language.modules() if isinstance(module, BaseTunerLayer)]
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def merged(self) -> dict[str, Tensor]:
        """What the low-rank changes add up to: name of each matrix in the language model -> its two factors."""
        out = {}
        for name, value in self.language.named_parameters():
            if "lora_" in name:
                matrix, _, factor = name.partition(".lora_")
                out[f"{matrix}.{factor[0].lower()}"] = value.detach()
        return out


def own_texts(language: LlamaForCausalLM, number: int, length: int) -> Tensor:
    """Texts that the language model itself writes from nothing, (number, length) long."""
    torch.manual_seed(8)
    start = torch.zeros(number, 1, dtype=torch.long, device=language.device)
    made: Tensor = language.generate(
        start,
        attention_mask=torch.ones_like(start),
        do_sample=True,
        top_k=0,
        temperature=1.0,
        min_new_tokens=length - 1,
        max_new_tokens=length - 1,
    )
    return made
