"""autotc: find, apply and check token compression for multimodal language models.

``load`` reads a checkpoint, ``apply`` puts a policy on an unchanged Hugging Face model, ``configure`` builds its input
stages into a processor, ``search`` finds a policy; every command of the shell is one function here. Importing it loads
neither torch nor Optuna nor MLflow.

Some functions have the name of the package that holds them (``autotc.search``): the attribute is always the function,
and ``from autotc.search.space import SearchSpace`` imports from the package.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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
    from autotc.bench import bench, calibrate
    from autotc.check import check
    from autotc.compare import compare
    from autotc.deployment import export
    from autotc.evaluate.evaluation import evaluate
    from autotc.evaluate.factory import evaluator
    from autotc.inspection import show
    from autotc.interactions import conflicts
    from autotc.models.listing import models
    from autotc.models.loading import load
    from autotc.policy import ModelReference, Policy, Stage
    from autotc.presets.listing import presets
    from autotc.registration import registry
    from autotc.runtime import Handle, apply, configure
    from autotc.search.session import sampler, search, worker
    from autotc.search.space import SearchSpace
    from autotc.starting import init
    from autotc.studies import front, report, study
    from autotc.validation import validate

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
    "SearchSpace",
    "Stage",
    "UnsupportedModelError",
    "apply",
    "bench",
    "calibrate",
    "check",
    "compare",
    "configure",
    "conflicts",
    "evaluate",
    "evaluator",
    "export",
    "front",
    "init",
    "load",
    "models",
    "presets",
    "registry",
    "report",
    "sampler",
    "search",
    "show",
    "study",
    "validate",
    "worker",
]

_HOMES = {
    "Handle": "autotc.runtime",
    "ModelReference": "autotc.policy",
    "Policy": "autotc.policy",
    "SearchSpace": "autotc.search.space",
    "Stage": "autotc.policy",
    "apply": "autotc.runtime",
    "bench": "autotc.bench",
    "calibrate": "autotc.bench",
    "check": "autotc.check",
    "compare": "autotc.compare",
    "configure": "autotc.runtime",
    "conflicts": "autotc.interactions",
    "evaluate": "autotc.evaluate.evaluation",
    "evaluator": "autotc.evaluate.factory",
    "export": "autotc.deployment",
    "front": "autotc.studies",
    "init": "autotc.starting",
    "load": "autotc.models.loading",
    "models": "autotc.models.listing",
    "presets": "autotc.presets.listing",
    "registry": "autotc.registration",
    "report": "autotc.studies",
    "search": "autotc.search.session",
    "show": "autotc.inspection",
    "study": "autotc.studies",
    "validate": "autotc.validation",
    "sampler": "autotc.search.session",
    "worker": "autotc.search.session",
}
"""Public name -> its module, imported when the name is first used: torch's environment is set before that."""


class _PublicFace(ModuleType):
    """A package whose public names are never hidden by a submodule of the same name.

    Importing ``autotc.search.space`` binds the package ``search`` as an attribute of ``autotc``; here that binding is
    left out, so that ``autotc.search`` stays the function. Imports read ``sys.modules`` and do not miss it.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autotc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


sys.modules[__name__].__class__ = _PublicFace
