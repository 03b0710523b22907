"""Models and processors of checkpoints: in the dtype, on the device and with the attention that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotc.errors import DataError, one_line, quote
from autotc.lazy import nn, torch
from autotc.models.checkpoints import find_checkpoint
from autotc.models.devices import SPREADING, installed, usable_device, usable_dtype
from autotc.models.load_errors import explained
from autotc.models.processors import load_processor
from autotc.models.published import PUBLISHED
from autotc.models.settings import AS_STORED, Loading
from autotc.models.weights import check_memory
from autotc.names import nearest
from autotc.versions import check_transformers

if TYPE_CHECKING:
    from transformers import ProcessorMixin

_ATTENTION = ("sdpa", "eager", "flash_attention_2")
"""Implementations that a misspelt one may mean."""


def load(
    name: str,
    *,
    dtype: str | torch.dtype = "auto",
    device_map: Any = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A checkpoint's model, in eval mode, and its processor.

    Example:
        >>> model, processor = autotc.load("Qwen/Qwen2.5-VL-7B-Instruct", dtype="bfloat16")  # doctest: +SKIP

    Args:
        name: a folder in the hub's layout, or a hub name. Of a whole Omni checkpoint the thinker is loaded.
        dtype: of the weights: auto (the checkpoint's), float32, bfloat16 or float16.
        device_map: a device, or a map as accelerate takes it; None takes the GPU where there is one.
        attn_implementation: as transformers names it; None takes the model's own.
        revision: branch, tag or commit on the hub.
        trust_remote_code: whether code of the checkpoint's own may run.

    Raises:
        DataError: files are missing, the name cannot be fetched, an option is unknown, or the model does not fit.
        UnsupportedModelError: no adapter knows its architecture.
        MissingDependencyError: the attention or the device map needs a package that is not installed.
    """
    return load_checkpoint(name, Loading(dtype, device_map, attn_implementation, revision, trust_remote_code))


def load_checkpoint(name: str, loading: Loading = AS_STORED) -> tuple[Any, Any]:
    """A checkpoint's model, in eval mode, and its processor: `load`, with its options as one record."""
    import transformers

    if name in PUBLISHED:
        raise DataError(f"model: {name} is a shape known by name, without weights; give a folder or a hub name")
    dtype, device = usable_dtype(loading.dtype), usable_device(loading.device_map)
    checkpoint = find_checkpoint(name, loading)
    if checkpoint.bound.adapter.since is not None:
        check_transformers(checkpoint.bound.family, checkpoint.bound.adapter.since)
    processor = load_processor(name, loading)
    check_memory(checkpoint, dtype, device, loading.revision)
    options: dict[str, object] = {
        "dtype": "auto" if dtype is None else dtype,
        "revision": loading.revision or "main",
        "trust_remote_code": loading.trust_remote_code,
    }
    if loading.attn_implementation is not None:
        options["attn_implementation"] = loading.attn_implementation
    placed = device != "cpu" and (device in SPREADING or not isinstance(device, str) or installed("accelerate"))
    if placed:
        options["device_map"] = device
    try:
        model = getattr(transformers, checkpoint.bound.architecture).from_pretrained(name, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises whatever a malformed file makes it stumble over
        raise explained(name, error, loading) from error
    return (model if placed else model.to(device)).eval(), processor


def load_shape(name: str, loading: Loading = AS_STORED) -> tuple[nn.Module, ProcessorMixin]:
    """A checkpoint's model without its weights, on the device ``meta``, and its processor.

    For what asks about a model that runs elsewhere: its shapes, its modules, its processor.

    Raises:
        DataError: as `load_checkpoint`.
        UnsupportedModelError: no adapter knows its architecture.
    """
    import transformers

    checkpoint = find_checkpoint(name, loading)
    processor = load_processor(name, loading)
    with torch.device("meta"):
        model = getattr(transformers, checkpoint.bound.architecture)(checkpoint.bound.config)
    return model.eval(), processor


def load_model(name: str | None, loading: Loading = AS_STORED) -> tuple[Any, Any]:
    """The model and processor of a name, or the embedded ones.

    Args:
        name: as `load` takes it; None for the embedded model.
        loading: how.

    Raises:
        DataError: as `load`; or an option is given that only a checkpoint on the hub has.
    """
    if name is not None:
        return load_checkpoint(name, loading)
    for option, value in (("revision", loading.revision), ("trust-remote-code", loading.trust_remote_code)):
        if value:
            raise DataError(f"--{option}: given without --model; it is of a checkpoint on the hub")
    from autotc.tiny import load as load_embedded

    model, processor = load_embedded()
    return (model if loading == AS_STORED else place(model, loading)), processor


def place(model: Any, loading: Loading) -> Any:
    """A model that is loaded already, brought to the device, the dtype and the attention that are asked for.

    Raises:
        DataError: there is no such device, dtype or attention.
    """
    attention = loading.attn_implementation
    if attention is not None:
        try:
            model.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            hint = "" if attention in _ATTENTION else nearest(attention, _ATTENTION, listed=0)
            said = f"{quote(attention)} given; {hint}" if hint else one_line(error)
            raise DataError(f"--attn-implementation: {said}") from error
    return model.to(usable_device(loading.device_map), usable_dtype(loading.dtype))
