"""The explicit registry: one line per mechanism."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError

from autotc.errors import PolicyError
from autotc.mechanisms.attention.fastv import FastV
from autotc.mechanisms.attention.pyramiddrop import PyramidDrop
from autotc.mechanisms.attention.rep_shift import RepShift
from autotc.mechanisms.attention.visionzip import VisionZip
from autotc.mechanisms.base import Mechanism
from autotc.mechanisms.control.random import Random
from autotc.mechanisms.control.uniform_stride import UniformStride
from autotc.mechanisms.query.cdpruner import CDPruner
from autotc.mechanisms.query.text_similarity import TextSimilarity
from autotc.mechanisms.similarity.a_tome import ATome
from autotc.mechanisms.similarity.divprune import DivPrune
from autotc.mechanisms.similarity.dyn_ttm import DynTtm
from autotc.mechanisms.similarity.evs import Evs
from autotc.mechanisms.similarity.tome import ToMe
from autotc.mechanisms.transformation.avg_pool import AvgPool
from autotc.mechanisms.transformation.downsample import Downsample

_CLASSES: tuple[type[Mechanism], ...] = (
    FastV,
    PyramidDrop,
    RepShift,
    VisionZip,
    Random,
    UniformStride,
    CDPruner,
    TextSimilarity,
    ATome,
    DivPrune,
    DynTtm,
    Evs,
    ToMe,
    AvgPool,
    Downsample,
)
MECHANISMS: dict[str, type[Mechanism]] = {cls.name: cls for cls in _CLASSES}
"""Mechanism classes by the name policies use."""
if len(MECHANISMS) != len(_CLASSES):
    raise RuntimeError("two mechanisms share a name")


def build_mechanism(name: str, params: Mapping[str, object] | None = None) -> Mechanism:
    """A mechanism by name.

    Raises:
        PolicyError: the name is unknown or a parameter is wrong.
    """
    if name not in MECHANISMS:
        near = difflib.get_close_matches(name, MECHANISMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(MECHANISMS))}"
        raise PolicyError(f"mechanism: unknown mechanism {name!r}; {hint}")
    try:
        return MECHANISMS[name](params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(MECHANISMS[name].Params.model_fields) or "none"
        raise PolicyError(
            f"params.{where}: {first['msg']} (given {first.get('input')!r}; parameters of {name}: {known})"
        ) from error
