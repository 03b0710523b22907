"""An imitated accelerator: tensors that say they are elsewhere, and a count of what makes the host wait for them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

WAITING = {
    f"aten.{name}"
    for name in (
        "_local_scalar_dense.default",
        "nonzero.default",
        "masked_select.default",
        "repeat_interleave.Tensor",
        "bincount.default",
        "_unique2.default",
        "unique_consecutive.default",
        "unique_dim.default",
        "equal.default",
    )
}
"""Operators whose result or its size the host must read; indexing with a mask is one more."""


class There(Tensor):
    """A tensor on the imitated device: its values are the host's, its device is called meta."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        out: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("meta"),
        )
        out.inner = inner
        return out

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


_WAITS: Counter[str] = Counter()


def _wait() -> None:
    """Note a wait and who asked: the innermost function of autotc, unless a hook has long returned to the model."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if "/autotc/" in path:
            _WAITS[f"{path.rsplit('/', 1)[-1]} {frame.name}"] += 1
            return
        if "/transformers/models/" in path:
            break
    _WAITS["model"] += 1


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = str(func)
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if name == "aten._to_copy.default" and device is not None:
        source = args[0]
        inner = source.inner if isinstance(source, There) else source
        out = func(inner, **kwargs | {"device": torch.device("cpu")})
        if device.type == "cpu":
            if isinstance(source, There):
                _wait()
            return out
        return There(out)
    there: dict[int, There] = {}

    def host(value: Any) -> Any:
        if isinstance(value, There):
            there[id(value.inner)] = value
            return value.inner
        if isinstance(value, Tensor) and value.is_meta:
            assert value.numel() == 0  # nothing else is made there without values
            return torch.empty(value.shape, dtype=value.dtype)
        return value

    args, kwargs = tree_map(host, (args, kwargs))
    if there and name in WAITING:
        _wait()
    indexing = name.startswith(("aten.index.Tensor", "aten.index_put", "aten._index_put"))
    if there and indexing and any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]):
        _wait()
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    out = func(*args, **kwargs)
    elsewhere = bool(there) or (device is not None and device.type == "meta")

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor) or not elsewhere:
            return value
        known = there.get(id(value))
        return There(value) if known is None else known  # what was changed in place stays what it was

    return tree_map(back, out)


def _read(value: Any) -> Any:
    """A tensor's values on the host."""
    if not isinstance(value, There):
        return value
    _wait()
    return value.inner


class _Made(TorchFunctionMode):
    """Tensors made of Python values on the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == "meta":
            given = args[0].inner if isinstance(args[0], There) else tree_map(_read, args[0])
            return There(func(given, *args[1:], **kwargs | {"device": "cpu"}))
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return There(func(args[0].inner, *args[1:], **kwargs))
        if func is torch.sparse.mm:  # whose kernels take no wrapped tensors
            return There(func(*(value.inner for value in args)))
        if func is Tensor.tolist and isinstance(args[0], There):
            return _read(args[0]).tolist()
        return func(*args, **kwargs)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Counts, by the function of autotc that asked, or "model", how often the host waits for the imitated device."""
    _WAITS.clear()
    with torch.no_grad(), _Made(), _Operators():
        yield _WAITS


def moved(model: nn.Module) -> nn.Module:
    """The model with its parameters and buffers on the imitated device."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = There(parameter.data)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = There(buffer)
    return model
