"""Hooks on a model and methods replaced on it, all of which can be taken back; and what torch.compile must be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Hooks:
    """What has been attached to a model's modules; ``remove`` restores them to what they were."""

    def __init__(self) -> None:
        self._removers: list[Callable[[], Any]] = []

    def before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Call ``hook(module, args, kwargs)`` before the module; what it returns takes the arguments' place."""
        handle = module.register_forward_pre_hook(_untraced(hook), with_kwargs=True, prepend=True)
        self._removers.append(handle.remove)

    def after(self, module: nn.Module, hook: Callable[..., Any], always: bool = False) -> None:
        """Call ``hook(module, args, output)`` behind the module; with ``always`` also where it raised."""
        handle = module.register_forward_hook(_untraced(hook), prepend=True, always_call=always)
        self._removers.append(handle.remove)

    def replace(self, module: nn.Module, name: str, value: Any) -> None:
        """Let an attribute of this one instance be ``value``: what its class says stays as it is."""
        attributes = module.__dict__
        present, previous = name in attributes, attributes.get(name)

        def restore() -> None:
            if present:
                attributes[name] = previous
            else:
                attributes.pop(name, None)

        attributes[name] = value
        self._removers.append(restore)

    def remove(self) -> None:
        """Take everything away, last first; calling it twice is harmless."""
        for remove in reversed(self._removers):
            remove()
        self._removers.clear()


def _untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, left out of what torch.compile traces: it compiles the layers around it."""
    compiler: Any = torch.compiler
    out: Callable[..., Any] = compiler.disable(hook)
    return out


def forget_compiled(model: nn.Module) -> None:
    """Let a compiled model be compiled again: torch.compile does not notice that hooks have come or gone."""
    if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
        compiler: Any = torch.compiler
        compiler.reset()
