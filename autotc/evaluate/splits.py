"""Seeded, disjoint splits of samples that may share media."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from autotc.vocabulary import Split

SHARES: dict[Split, float] = {"search": 0.4, "val": 0.2, "test": 0.4}


@dataclass(frozen=True)
class Member:
    """What decides where a sample goes.

    Attributes:
        id: unique.
        stratum: samples of each stratum are divided in the same shares.
        shares: what it has in common with others, e.g. files or hashes of pictures.
        cluster: name of what it has in common with others, where the data name it; empty where they do not.
    """

    id: str
    stratum: str
    shares: Collection[Hashable] = ()
    cluster: str = ""


def divide(members: Sequence[Member], seed: int) -> dict[str, Split]:
    """Split of each sample's id: 40% search, 20% val, 40% test of every stratum.

    Samples that share something, or a cluster, stay together, so that no picture is searched on and tested on. The
    assignment depends on ids and seed, not on the order.
    """
    by_stratum: dict[str, list[list[Member]]] = {}
    for unit in _units(members):
        by_stratum.setdefault(unit[0].stratum, []).append(unit)
    where: dict[str, Split] = {}
    for units in by_stratum.values():
        units.sort(key=lambda unit: rank(min(m.id for m in unit), seed))
        for unit, split in zip(units, _cut([len(unit) for unit in units]), strict=True):
            where.update((member.id, split) for member in unit)
    return where


def clusters(members: Sequence[Member]) -> dict[str, str]:
    """Cluster of each sample's id: the same for samples that share something, directly or through others.

    A cluster is called what the data call it, the first in alphabetical order where they have several names for it,
    else after the first id of it. Samples that share nothing and whose cluster the data do not name have none (``""``).
    """
    out: dict[str, str] = {}
    for unit in _units(members):
        given = [member.cluster for member in unit if member.cluster]
        called = f"media of {min(member.id for member in unit)}" if len(unit) > 1 else ""
        out.update(dict.fromkeys((member.id for member in unit), min(given, default=called)))
    return out


def _cut(sizes: Sequence[int]) -> list[Split]:
    """Split of each of some units in order, by their sizes; no split is empty where there are three units."""
    total, done = sum(sizes), 0
    splits: list[Split] = []
    for size in sizes:
        # The middle of the unit decides.
        middle = Fraction(2 * done + size, 2 * total)
        splits.append("search" if middle < Fraction(2, 5) else "val" if middle < Fraction(3, 5) else "test")
        done += size
    if len(sizes) >= len(SHARES) > len(set(splits)):  # four units, or one that holds most of the samples
        first = min(max(1, splits.count("search")), len(sizes) - 2)
        return ["search" if i < first else "val" if i == first else "test" for i in range(len(sizes))]
    return splits


def rank(name: str, seed: int) -> str:
    """Sorts names in an order that only the seed decides."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _units(members: Sequence[Member]) -> list[list[Member]]:
    """Samples in groups that have nothing in common with another group (union-find over what they share)."""
    parent = list(range(len(members)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    owner: dict[Hashable, int] = {}
    for i, member in enumerate(members):
        named = [(Member, member.cluster)] if member.cluster else []
        for shared in (*member.shares, *named):
            parent[root(i)] = root(owner.setdefault(shared, i))
    units: dict[int, list[Member]] = {}
    for i, member in enumerate(members):
        units.setdefault(root(i), []).append(member)
    return list(units.values())
