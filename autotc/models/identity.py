"""Which model this is: hashes that tell checkpoints of one architecture apart, and the model's part of a stamp."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.registry import bind, unwrap
from autotc.stamp import Stamp

SAMPLED = 512
"""Values of a tensor that are hashed, evenly spread over it; all of them where it has at most four times as many."""
_WORD = 8
"""Bytes of the whole numbers that a tensor is summed up as."""


def model_stamp(model: nn.Module) -> Stamp:
    """What results depend on of a loaded model: architecture, configuration, weights, dtype, attention, and autotc.

    The same weights have the same stamp wherever they were loaded from and whatever device they are on. It takes one
    pass over the weights, about as long as copying them in memory.

    Args:
        model: of a supported class, or a wrapper around one.

    Raises:
        UnsupportedModelError: no adapter knows its class.
    """
    inner = unwrap(model)
    reference = bind(inner).reference
    return Stamp(
        architecture=reference.architecture,
        fingerprint=reference.fingerprint,
        weights=weights_digest(inner),
        dtype=_dtypes(inner),
        attention=_attention(inner.config),
        version=_version(),
    )


def _version() -> str | None:
    """Of autotc; None where it runs from a source tree that is not installed."""
    try:
        return metadata.version("autotc")
    except metadata.PackageNotFoundError:
        return None


def weights_digest(model: nn.Module) -> str:
    """``sha256:`` and 32 hexadecimal digits over names, shapes and values of all weights and buffers.

    Of a large tensor `SAMPLED` values are hashed, and the sum of all its bytes as whole numbers of 64 bits, which no
    order of additions changes: every device finds the same. Weights that accelerate has moved out are read from where
    they are.
    """
    digest = hashlib.sha256()
    moved = _moved_weights(model)
    tensors: list[Tensor] = []
    for name, value in sorted(model.state_dict().items()):
        held = moved.get(name, value) if isinstance(value, torch.Tensor) and value.is_meta else value
        for tensor in _tensors(held, digest):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
            if not tensor.is_meta:
                tensors += _summary(tensor)
    # One copy a device: an accelerator is waited for once, not once a tensor.
    for device in {tensor.device: None for tensor in tensors}:
        together = torch.cat([tensor for tensor in tensors if tensor.device == device])
        digest.update(together.cpu().numpy().tobytes())
    return "sha256:" + digest.hexdigest()[:32]


def processor_digest(processor: Any) -> str:
    """``sha256:`` and 32 hexadecimal digits over a processor's settings, vocabulary size and chat template."""
    parts = {name: getattr(processor, name, None) for name in ("image_processor", "video_processor")}
    parts["feature_extractor"] = getattr(processor, "feature_extractor", None)
    settings = {name: part.to_dict() for name, part in parts.items() if part is not None}
    tokenizer = getattr(processor, "tokenizer", None)
    text = json.dumps(
        [type(processor).__name__, settings, getattr(processor, "chat_template", None), len(tokenizer or ())],
        sort_keys=True,
        default=str,
    )
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]


def _tensors(value: Any, digest: Any) -> Iterator[Tensor]:
    """Tensors that an entry of a state holds; what is no tensor (packed settings) goes into the digest as text."""
    if isinstance(value, torch.Tensor):
        if not value.is_quantized:
            yield value
        elif value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            digest.update(f"{value.q_scale()} {value.q_zero_point()}\0".encode())
            yield value.int_repr()
        else:
            yield from (value.int_repr(), value.q_per_channel_scales(), value.q_per_channel_zero_points())
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part, digest)
    elif value is not None:
        digest.update(repr(value).encode())


def _summary(tensor: Tensor) -> list[Tensor]:
    """Bytes, uint8, on the tensor's device: of values evenly spread over it, and of the sum of all its bytes."""
    flat = tensor.detach().reshape(-1)
    if len(flat) <= 4 * SAMPLED:
        return [flat.contiguous().view(torch.uint8)]
    sampled = flat[:: len(flat) // SAMPLED].contiguous().view(torch.uint8)
    content = flat.view(torch.uint8)
    words = content[: len(content) // _WORD * _WORD]
    if words.storage_offset() % _WORD:
        words = words.clone()
    return [sampled, content[len(words) :], words.view(torch.int64).sum().reshape(1).view(torch.uint8)]


def _moved_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights that accelerate keeps on another device, in memory or on a disk, by their names."""
    out: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        for part in getattr(hook, "hooks", (hook,)):
            weights = getattr(part, "weights_map", None)
            if weights is not None:
                prefix = f"{path}." if path else ""
                out |= {f"{prefix}{name}": weights[name] for name, _ in module.named_parameters(recurse=False)}
    return out


def _dtypes(model: nn.Module) -> str:
    """Dtypes of the weights, the most frequent first."""
    counts: dict[str, int] = {}
    for parameter in model.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + parameter.numel()
    return "+".join(sorted(counts, key=lambda name: (-counts[name], name)))


def _attention(config: PreTrainedConfig) -> str:
    """Implementations of attention, of the language model and of the towers."""
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    names = [str(getattr(part, "_attn_implementation", None)) for part in parts if part is not None]
    return "+".join(dict.fromkeys(names))
