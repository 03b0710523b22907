"""autotc: find, apply and check token compression for multimodal language models.

``load`` reads a checkpoint, ``apply`` puts a policy on an unchanged Hugging Face model, ``configure`` builds its input
stages into a processor, ``search`` finds a policy. Importing the package loads neither Optuna nor MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autotc.errors import (
    AutotcError,
    ConflictError,
    DataError,
    InputsError,
    MechanismError,
    MissingDependencyError,
    PolicyError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    import autotc.search as search
    from autotc.models.loading import load
    from autotc.policy import ModelReference, Policy, Stage
    from autotc.runtime import Handle, apply, configure

__version__ = "0.1.0"

__all__ = [
    "AutotcError",
    "ConflictError",
    "DataError",
    "Handle",
    "InputsError",
    "MechanismError",
    "MissingDependencyError",
    "ModelReference",
    "Policy",
    "PolicyError",
    "Stage",
    "UnsupportedModelError",
    "apply",
    "configure",
    "load",
    "search",
]


_LAZY = {
    "Handle": "autotc.runtime",
    "apply": "autotc.runtime",
    "configure": "autotc.runtime",
    "load": "autotc.models.loading",
    "ModelReference": "autotc.policy",
    "Policy": "autotc.policy",
    "Stage": "autotc.policy",
}
"""What needs torch, loaded when it is first asked for: the command line sets torch's environment before that."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "search":
        return importlib.import_module("autotc.search")
    raise AttributeError(f"module 'autotc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "search"])
