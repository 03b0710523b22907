"""Models of any size with random weights, and requests of random media: speed does not depend on the values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from autotc.errors import DataError, PolicyError, UnsupportedModelError, one_line
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.checkpoints import find_checkpoint
from autotc.models.devices import usable_device, usable_dtype
from autotc.models.geometry import Media
from autotc.models.registry import find_adapter
from autotc.models.settings import AS_STORED, Loading
from autotc.vocabulary import MODALITIES, Modality

_NOISE = (1 << 20) + 7
"""Length of the noise that weights are filled with, over and over; odd, so that no two rows of a matrix are equal."""
_SPREAD = 0.02
"""Standard deviation of random weights, as the architectures begin with."""


def random_model(
    config: PreTrainedConfig, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", seed: int = 0
) -> nn.Module:
    """A model of a configuration with random weights, made in its dtype on its device.

    Args:
        config: with ``architectures``.
        dtype, device: of the weights.
        seed: of the weights.

    Raises:
        UnsupportedModelError: no adapter knows its class.
    """
    import transformers
    from transformers.initialization import no_init_weights

    architecture = (getattr(config, "architectures", None) or ["a configuration without architectures"])[0]
    cls: Any = getattr(transformers, architecture, None)
    if cls is None:
        raise UnsupportedModelError(f"{architecture}: transformers has no such class; give a model's config.json")
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model: nn.Module = cls(config)
    finally:
        torch.set_default_dtype(usual)
    find_adapter(model)
    noise = torch.randn(_NOISE, generator=torch.Generator().manual_seed(seed)).mul_(_SPREAD).to(device, dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                flat = parameter.view(-1)
                for start in range(0, len(flat), _NOISE):
                    part = flat[start : start + _NOISE]
                    part.copy_(noise[: len(part)])
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model.eval()


def random_checkpoint(name: str, loading: Loading = AS_STORED) -> nn.Module:
    """A model with random weights of the size that a name stands for; no weights are fetched.

    Args:
        name: as `find_checkpoint` takes it.
        loading: dtype (auto is float32), device and attention of the model; revision of its configuration.

    Raises:
        DataError: there is no such configuration, or no model can be made of it here.
    """
    bound = find_checkpoint(name, loading).bound
    _ = bound.depths  # a configuration that the adapter does not understand is told before memory is filled
    bound.config.architectures = [bound.architecture]
    if loading.attn_implementation is not None:
        bound.config._attn_implementation = loading.attn_implementation
    dtype = usable_dtype(loading.dtype) or torch.float32
    try:
        return random_model(bound.config, dtype=dtype, device=usable_device(loading.device_map))
    except (RuntimeError, ImportError, ValueError) as error:
        raise DataError(f"--random-weights: {one_line(error)}") from error


def random_request(
    model: nn.Module, tokens: Mapping[Modality, int], *, text: int = 32, batch: int = 1, seed: int = 0
) -> dict[str, Tensor]:
    """Arguments of a batch of equal prompts: random media in front of random words, in one turn of the user.

    Args:
        model: of a supported family.
        tokens: modality -> media tokens of a prompt, as near as the family's sizes come.
        text: words of the query, at least 1.
        batch: rows.
        seed: of the values.

    Raises:
        PolicyError: the family has no such modality.
    """
    adapter, config = find_adapter(model), model.config
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Modality, Media]] = []
    for modality, count in tokens.items():
        if modality not in adapter.offers(config):
            raise PolicyError(f"modality: {modality} given; {adapter.family} has {', '.join(adapter.offers(config))}")
        parts.append((modality, adapter.random_media(config, modality, count, generator)))
    opening, closing, template = adapter.chat(config)
    placeholders = adapter.placeholders(config)
    media = [token for _, part in parts for token in part.ids]
    vocabulary = adapter.decoder_shape(config).vocabulary
    words = torch.ones(vocabulary)
    words[
        [token for token in {*media, *opening, *closing, *template, *placeholders.values()} if token < vocabulary]
    ] = 0
    query = torch.multinomial(words, text, replacement=True, generator=generator).tolist()
    ids = torch.tensor([[*opening, *media, *query, *closing]]).expand(batch, -1).contiguous()
    out = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for _, part in parts:
        out |= {name: torch.cat([value] * batch, part.along.get(name, 0)) for name, value in part.inputs.items()}
    names = inspect.signature(model.forward).parameters
    kinds = [0] * len(opening)
    for modality, part in parts:  # some families have one placeholder for pictures and videos
        number = MODALITIES.index(modality) + 1
        kinds += [number if token == placeholders[modality] else 0 for token in part.ids]
    kinds += [0] * (ids.shape[1] - len(kinds))
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in names:
            out[name] = torch.tensor([kinds]).expand(batch, -1).contiguous()
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    return {k: v.to(device, dtype if v.is_floating_point() else v.dtype) for k, v in out.items()}
