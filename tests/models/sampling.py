"""Which cases of a large matrix the default run takes: all of it is the full run's."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

from autotc.models import find_adapter

from .families import FAMILIES, Family


def spread(cases: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The cases in a fixed order without an order: families and mechanisms take turns."""
    out = list(cases)
    random.Random(0).shuffle(out)
    return out


def covering(cases: Iterable[tuple[Any, ...]], parts: Callable[[Any], Iterable[Hashable]]) -> list[Any]:
    """The cases by name; those in which no part is new are left to the full run.

    Args:
        cases: in the order in which they are looked at.
        parts: of a case, each of which the default run has to meet once.
    """
    seen: set[Hashable] = set()
    out = []
    for case in cases:
        mine = {*parts(case)}
        out.append(pytest.param(case, id="-".join(map(str, case)), marks=() if mine - seen else pytest.mark.full))
        seen |= mine
    return out


def pairs(case: tuple[Any, ...]) -> set[Hashable]:
    """Pairs of family, mechanism and place of a case (family, modality, location, mechanism, layer)."""
    family, modality, location, mechanism, layer = case
    place = (modality, location, layer)
    return {(family, mechanism), (family, place), (mechanism, place)}


def pairwise(cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The cases by name; those that meet no new pair of family, mechanism and place are left to the full run."""
    return covering(cases, pairs)


def modalities(family: Family) -> list[Any]:
    """What its rows hold, the family's first modality first."""
    return [modality for modality in find_adapter(family.build()).locations if family.holds(modality)]


def of_each_modality(
    rest: Sequence[Any], legal: Callable[[str, Any, Any], bool] = lambda name, modality, each: True
) -> list[Any]:
    """Cases (family, modality, each of the rest); the default run takes one modality for each, in turn.

    Args:
        rest: what a family is tried with.
        legal: whether a family can be tried with it on a modality.
    """
    out = []
    for i, name in enumerate(sorted(FAMILIES)):
        held = modalities(FAMILIES[name])
        for j, each in enumerate(rest):
            turn = (i + j) % len(held)
            tried = [modality for modality in held[turn:] + held[:turn] if legal(name, modality, each)]
            for modality in tried:
                label = "-".join(map(str, each)) if isinstance(each, tuple) else str(each)
                marks = () if modality == tried[0] else pytest.mark.full
                out.append(pytest.param((name, modality, each), id=f"{name}-{modality}-{label}", marks=marks))
    return out
