"""What a search knows: every restriction of a policy to a modality group, what it costs there and how well it does.

Results on a group depend on the stages of its modalities alone. So what was seen of a policy on one group holds for
every policy with the same stages there: nothing runs twice, and groups are judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotc.policy import Policy
from autotc.results import SampleResult
from autotc.search.race import Evidence
from autotc.vocabulary import Group


def restricted(policy: Policy, group: str) -> Policy:
    """The policy's stages on the modalities of a group."""
    return Policy(stages=tuple(s for s in policy.stages if Group(group).holds(s.modality)))


@dataclass
class Entry:
    """A policy restricted to a group.

    Attributes:
        policy: its stages there.
        cost: on the group's samples, relative to the uncompressed model: FLOPs, time or bytes of keys and values, of
            what is budgeted that of which it takes the largest share.
        samples: results on the first samples of the group.
        evidence: what these say.
        whole: whether these are all.
    """

    policy: Policy
    cost: float
    samples: tuple[SampleResult, ...]
    evidence: Evidence
    whole: bool

    @property
    def accuracy(self) -> float:
        """Mean score on the samples seen."""
        return float(self.evidence.correct.mean())

    @property
    def soft(self) -> float:
        """Mean of score and probability on the samples seen."""
        return float(self.evidence.soft.mean())


class Pool:
    """Entries of every group; the uncompressed model is one of them."""

    def __init__(self, groups: Iterable[str]) -> None:
        self.groups = tuple(groups)
        self._entries: dict[str, dict[str, Entry]] = {group: {} for group in self.groups}

    def entries(self, group: str, *, whole: bool = True) -> list[Entry]:
        """Entries of a group in order of their first run, those that saw the whole split or all."""
        return [entry for entry in self._entries[group].values() if entry.whole or not whole]

    def find(self, policy: Policy, group: str) -> Entry | None:
        """What is known of a policy on a group."""
        return self._entries[group].get(restricted(policy, group).content_hash())

    def seen(self, policy: Policy, group: str) -> int:
        """Samples of a group that a policy has run on."""
        entry = self.find(policy, group)
        return 0 if entry is None else len(entry.evidence)

    def put(self, policy: Policy, group: str, cost: float, samples: Sequence[SampleResult], whole: bool) -> Entry:
        """Note what was seen."""
        mine = restricted(policy, group)
        entry = Entry(mine, cost, tuple(samples), Evidence.of(samples), whole)
        self._entries[group][mine.content_hash()] = entry
        return entry

    def front(self, group: str) -> list[Entry]:
        """Entries that saw the whole split and that no cheaper or equal one beats, cheapest first."""
        return front(self.entries(group))

    def incumbent(self, group: str, cost: float) -> Entry | None:
        """The best entry of a group that saw the whole split at no more than a cost."""
        cheaper = [entry for entry in self.entries(group) if entry.cost <= cost + 1e-9]
        return max(cheaper, key=lambda entry: (entry.soft, -entry.cost), default=None)


def front(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that no cheaper or equal one beats in accuracy, cheapest first."""
    out: list[Entry] = []
    for entry in sorted(entries, key=lambda e: (e.cost, -e.accuracy, -e.soft)):
        if not out or entry.accuracy > out[-1].accuracy:
            out.append(entry)
    return out
