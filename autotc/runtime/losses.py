"""Fine-tuning under a policy: labels go with the tokens they belong to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from autotc.runtime.columns import Columns
from autotc.runtime.hooks import Hooks

IGNORED = -100
"""Label of a token that no loss is computed for."""


def cut_labels(labels: Tensor, columns: Columns | None, length: int) -> Tensor:
    """The labels (B, L) of the tokens that logits are left for.

    Args:
        labels: of the tokens given to the model.
        columns: of them that are left; None for all.
        length: of the logits.
    """
    if columns is None or labels.dim() != 2 or labels.shape[1] != columns.size:
        return labels
    left = columns.gather(labels).masked_fill(~columns.valid.to(labels.device), IGNORED)
    return left[:, -length:] if length else left


def attach_losses(model: nn.Module, base: nn.Module, hooks: Hooks, left: Callable[[], Columns | None]) -> None:
    """Let a model's loss be that of the shortened sequence.

    Args:
        model: whose.
        base: its part that merges the media in; some families hand labels and mask on from there.
        hooks: where to attach.
        left: says which columns of the call's tokens are left.
    """
    inner: Any = getattr(model, "loss_function", None)
    if inner is not None:

        @functools.wraps(inner)
        def loss_function(*args: Any, **kwargs: Any) -> Any:
            values = dict(zip(("logits", "labels"), args, strict=False)) | kwargs
            columns, length = left(), values["logits"].shape[1]
            for name in ("labels", "shift_labels"):
                if isinstance(values.get(name), Tensor):
                    values[name] = cut_labels(values[name], columns, length)
            rest = args[2:]
            return inner(values.pop("logits"), values.pop("labels"), *rest, **values)

        hooks.replace(model, "_loss_function", loss_function)

    def after_base(module: nn.Module, args: Any, output: Any) -> None:
        labels, columns = getattr(output, "labels", None), left()
        if isinstance(labels, Tensor) and columns is not None:
            output.labels = cut_labels(labels, columns, 0)
            if isinstance(output.attention_mask, Tensor):
                kept = columns.gather(output.attention_mask)
                output.attention_mask = kept.masked_fill(~columns.valid.to(kept.device), 0)

    hooks.after(base, after_base)
