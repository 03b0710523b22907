"""How a checkpoint is to be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Loading:
    """How a checkpoint is to be loaded; the command line's options of the same names.

    Attributes:
        dtype: of the weights: auto (the checkpoint's), float32, bfloat16 or float16; None is auto.
        device_map: a device, or a map as accelerate takes it; None takes the GPU where there is one.
        attn_implementation: as transformers names it; None takes the model's own.
        revision: branch, tag or commit on the hub; None takes its main branch.
        trust_remote_code: whether code of the checkpoint's own may run.
    """

    dtype: str | torch.dtype | None = None
    device_map: Any = None
    attn_implementation: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


AS_STORED = Loading()
"""As the checkpoint has it, on the GPU where there is one."""
