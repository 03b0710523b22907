"""What a search knows: every restriction of a policy to a modality group, what it costs there and how well it does.

Results on a group depend on the stages of its modalities alone. So what was seen of a policy on one group holds for
every policy with the same stages there: nothing runs twice, and groups are judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from autotc.pareto import pareto_front
from autotc.policy import Policy, Stage
from autotc.results import Results
from autotc.search.race import Evidence
from autotc.vocabulary import Group

_PARTS: dict[tuple[int, str], tuple[tuple[Stage, ...], Policy]] = {}
"""Identity of a policy's stages, and group -> these stages, so that the identity stays theirs, and the policy there."""
_REMEMBERED = 2**16


def restricted(policy: Policy, group: str) -> Policy:
    """The policy's stages on the modalities of a group."""
    key = id(policy.stages), group
    known = _PARTS.get(key)
    if known is not None and known[0] is policy.stages:
        return known[1]
    # Stages that are in order stay so: nothing is to be checked.
    part = Policy.model_construct({"stages"}, stages=tuple(s for s in policy.stages if Group(group).holds(s.modality)))
    if len(_PARTS) >= _REMEMBERED:
        _PARTS.clear()
    _PARTS[key] = policy.stages, part
    return part


@dataclass
class Entry:
    """A policy restricted to a group.

    Attributes:
        policy: its stages there.
        cost: on the group's samples, relative to the uncompressed model: FLOPs, time or bytes of keys and values, of
            what is budgeted that of which it takes the largest share.
        results: on the first samples of the group.
        evidence: what these say.
        complete: whether these are all.
    """

    policy: Policy
    cost: float
    results: Results
    evidence: Evidence
    complete: bool

    @cached_property
    def accuracy(self) -> float:
        """Mean score on the samples seen."""
        return float(self.evidence.correct.mean())

    @cached_property
    def soft_accuracy(self) -> float:
        """Mean of score and probability on the samples seen."""
        return float(self.evidence.soft.mean())


class Archive:
    """Entries of every group; the uncompressed model is one of them."""

    def __init__(self, groups: Iterable[str]) -> None:
        self.groups = tuple(groups)
        self._entries: dict[str, dict[str, Entry]] = {group: {} for group in self.groups}

    def entries(self, group: str, *, partial: bool = False) -> list[Entry]:
        """Entries of a group in order of their first run: those that saw the whole split; ``partial``: all."""
        return [entry for entry in self._entries[group].values() if entry.complete or partial]

    def find(self, policy: Policy, group: str) -> Entry | None:
        """What is known of a policy on a group."""
        return self._entries[group].get(restricted(policy, group).content_hash())

    def samples_seen(self, policy: Policy, group: str) -> int:
        """Samples of a group that a policy has run on."""
        entry = self.find(policy, group)
        return 0 if entry is None else len(entry.evidence)

    def put(self, policy: Policy, group: str, cost: float, results: Results, complete: bool) -> Entry:
        """Keep what was seen of a policy on a group, in place of what was known."""
        part = restricted(policy, group)
        entry = Entry(part, cost, results, Evidence.of(results), complete)
        self._entries[group][part.content_hash()] = entry
        return entry

    def front(self, group: str) -> list[Entry]:
        """Entries that saw the whole split and that no cheaper or equal one beats in accuracy, cheapest first."""
        return pareto_front(
            self.entries(group),
            cost=lambda entry: entry.cost,
            value=lambda entry: entry.accuracy,
            tie=lambda entry: -entry.soft_accuracy,
        )

    def incumbent(self, group: str, cost: float) -> Entry | None:
        """The best entry of a group that saw the whole split at no more than a cost."""
        cheaper = [entry for entry in self.entries(group) if entry.cost <= cost + 1e-9]
        return max(cheaper, key=lambda entry: (entry.soft_accuracy, -entry.cost), default=None)
