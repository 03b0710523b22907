"""Modules that run on the holes an encoder stage leaves: rows of NaN, which some quantized modules cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autotc.errors import PolicyError
from autotc.lazy import nn, torch
from autotc.models.bound import BoundAdapter
from autotc.policy import Policy
from autotc.vocabulary import Modality


def check_holes(bound: BoundAdapter, model: nn.Module, policy: Policy) -> None:
    """See that what runs behind an encoder stage keeps rows of NaN to themselves.

    Behind the last block of a tower, rows that were removed stand as NaN until the language model. A module that
    quantizes its input by one scale for all rows (`torch.ao.quantization.quantize_dynamic`) spoils the others with
    them, or raises.

    Args:
        bound: of the model.
        model: without wrappers.
        policy: that fits the model.

    Raises:
        PolicyError: a module cannot take holes; the message names it.
    """
    for i, stage in enumerate(policy.stages):
        if stage.location != "encoder":
            continue
        for name, module in _behind_blocks(bound, model, stage.modality):
            if _is_special(module) and not _keeps_rows_apart(module, model):
                raise PolicyError(
                    f"stages.{i}.location: encoder stages leave rows of NaN that {name} ({type(module).__name__})"
                    " cannot take, since it quantizes all rows together; leave modules behind the tower's blocks in"
                    " floating point, or use projector and decoder stages"
                )


def _behind_blocks(bound: BoundAdapter, model: nn.Module, modality: Modality) -> Iterator[tuple[str, Any]]:
    """Modules outside the tower's blocks and the language model, by name."""
    adapter = bound.adapter
    inside = {id(part) for block in adapter.blocks(model, modality) for part in block.modules()}
    inside |= {id(part) for part in adapter.language_model(model).modules()}
    base = adapter.base(model)
    for name, module in base.named_modules():
        if id(module) not in inside:
            yield name, module


def _is_special(module: Any) -> bool:
    """Whether a module multiplies rows by weights in another way than torch's own layers on plain tensors."""
    if not hasattr(module, "in_features"):
        return False
    plain = type(module).__module__.startswith("torch.nn.modules")
    return not plain or type(module.weight) not in (torch.Tensor, torch.nn.Parameter)


def _keeps_rows_apart(module: Any, model: nn.Module) -> bool:
    """Whether a row of NaN leaves another row of a module's input as it is: tried on two rows, in either order."""
    weight = next(model.parameters(), module.weight)
    rows = torch.linspace(-1, 3, 2 * module.in_features, device=weight.device).view(2, -1).to(weight.dtype)
    with torch.no_grad():
        try:
            expected = module(rows)
            for hole in (0, 1):
                holed = rows.clone()
                holed[hole] = torch.nan
                if not torch.allclose(module(holed)[1 - hole], expected[1 - hole]):
                    return False
        except RuntimeError:  # what a kernel says of a scale that is no number
            return False
    return True
