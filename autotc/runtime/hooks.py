"""Hooks on a model and methods replaced on it, all of which can be taken back; and what torch.compile must be told."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autotc.errors import AutotcError


class Hooks:
    """What has been attached to a model's modules; ``remove`` restores them to what they were.

    A copy of such a module would keep hooks that are bound to this policy, and that nothing takes away: while they are
    there it can be neither copied nor pickled.
    """

    def __init__(self) -> None:
        self._removers: list[Callable[[], Any]] = []
        self._guarded: set[int] = set()

    def before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Call ``hook(module, args, kwargs)`` before the module; what it returns takes the arguments' place."""
        self._guard(module)
        handle = module.register_forward_pre_hook(_untraced(hook), with_kwargs=True, prepend=True)
        self._removers.append(handle.remove)

    def after(self, module: nn.Module, hook: Callable[..., Any], always: bool = False) -> None:
        """Call ``hook(module, args, output)`` behind the module; with ``always`` also where it raised."""
        self._guard(module)
        handle = module.register_forward_hook(_untraced(hook), prepend=True, always_call=always)
        self._removers.append(handle.remove)

    def replace(self, module: nn.Module, name: str, value: Any) -> None:
        """Let an attribute of this one instance be ``value``: what its class says stays as it is."""
        self._guard(module)
        attributes = module.__dict__
        present, previous = name in attributes, attributes.get(name)

        def restore() -> None:
            if present:
                attributes[name] = previous
            else:
                attributes.pop(name, None)

        attributes[name] = value
        self._removers.append(restore)

    def _guard(self, module: nn.Module) -> None:
        if id(module) not in self._guarded:
            self._guarded.add(id(module))
            # Copying and pickling both look here first.
            self.replace(module, "__reduce_ex__", _refuse_copy)

    def remove(self) -> None:
        """Take everything away, last first; calling it twice is harmless."""
        for remove in reversed(self._removers):
            remove()
        self._removers.clear()
        self._guarded.clear()


def _refuse_copy(protocol: Any) -> Any:
    raise AutotcError(
        "a model under a policy cannot be pickled or copied; leave the context, and apply the policy to the copy"
    )


def _untraced(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, left out of what torch.compile traces: it compiles the layers around it."""
    compiler: Any = torch.compiler
    out: Callable[..., Any] = compiler.disable(hook)
    return out


def forget_compiled(model: nn.Module) -> None:
    """Let a compiled model be compiled again: torch.compile does not notice that hooks have come or gone.

    What it has made hangs on code, not on a model: also where only a wrapper of the model knows that it was compiled,
    or only a part of it was.
    """
    if "torch._dynamo" not in sys.modules:
        return
    modules = list(model.modules())
    codes = {inspect.unwrap(type(module).forward).__code__ for module in modules if _has_code(type(module).forward)}
    codes |= {getattr(nn.Module, name).__code__ for name in ("_call_impl", "_wrapped_call_impl")}
    marked = any(getattr(module, "_compiled_call_impl", None) is not None for module in modules)
    if marked or any(_compiled(code) for code in codes):
        compiler: Any = torch.compiler
        compiler.reset()


def _has_code(function: Any) -> bool:
    return hasattr(inspect.unwrap(function), "__code__")


def _compiled(code: Any) -> bool:
    """Whether torch.compile has made something of a function's code."""
    from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list

    return bool(_debug_get_cache_entry_list(code))
