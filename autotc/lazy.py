"""Heavy packages, imported when they are first used: commands that only read files start without them.

``from autotc.lazy import Tensor, torch`` in place of ``import torch`` where a module is also read for what it declares
(mechanisms, adapters). ``torch`` is the package in all uses; ``Tensor`` and ``PreTrainedConfig`` stand in annotations
alone, and where a value is looked at it is ``torch.Tensor``.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """A package that is imported when the first of its names is used; from then on it has the package's own names."""

    def __getattr__(self, name: str) -> Any:
        package = importlib.import_module(self.__name__)
        value = getattr(package, name)
        if not name.startswith("__"):
            self.__dict__[name] = value  # looked up here from now on, as fast as in the package itself
        return value


if TYPE_CHECKING:
    import torch as torch
    from torch import Tensor as Tensor
    from torch import nn as nn
    from transformers import PreTrainedConfig as PreTrainedConfig
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    Tensor = "torch.Tensor"
    PreTrainedConfig = "transformers.PreTrainedConfig"
