"""What a search was worth: its exported policy beside the best preset and control, and the front's next points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from autotc.policy import Policy, Stage
from autotc.presets import PRESETS
from autotc.results import Results, SplitCost
from autotc.search.result import FrontRow, Neighbour, Rival, RivalKind, Worth
from autotc.search.trials import TrialRecord
from autotc.vocabulary import Split


@dataclass(frozen=True)
class Trials:
    """What was tried, and how to run it on another split.

    Attributes:
        records: feasible trials that ran on the whole search split.
        run: results of a policy on a split; None where it cannot be run.
        cost: cost of a policy on a split.
    """

    records: Sequence[TrialRecord]
    run: Callable[[Policy, Split], Results | None]
    cost: Callable[[Policy, Split], SplitCost]


def assess(trials: Trials, chosen: Policy, measured: Results, points: Sequence[tuple[FrontRow, Results]]) -> Worth:
    """Compare an exported policy on the test split, paired by sample.

    Rivals are chosen as the policy was, on search and validation, so that the test split is as new to them.

    Args:
        trials: of the study.
        chosen: the exported policy.
        measured: its results on the test split.
        points: the front on the test split, cheapest first, the exported policy among them.
    """
    rivals = (_rival(trials, kind, chosen, measured) for kind in ("preset", "control"))
    return Worth(tuple(rival for rival in rivals if rival is not None), tuple(_neighbours(points, measured)))


def _rival(trials: Trials, kind: RivalKind, chosen: Policy, measured: Results) -> Rival | None:
    """The best preset, or control, of each modality put together; None where there is none, or none can be run."""
    ranked = []
    for number, (policy, names) in enumerate(_combined(trials.records, kind, chosen.modalities)):
        results = trials.run(policy, "val")
        if results is not None:
            ranked.append((-results.mean(), -results.mean_log_probability(), number, policy, names))
    for *_, policy, names in sorted(ranked, key=lambda row: row[:3]):
        same = policy.content_hash() == chosen.content_hash()
        results = measured if same else trials.run(policy, "test")
        if results is not None:
            ratio = trials.cost(policy, "test").flops_ratio
            return Rival(kind, names, policy.label(), results.mean(), ratio, measured.difference(results), same)
    return None


def _combined(
    records: Sequence[TrialRecord], kind: RivalKind, modalities: Sequence[str]
) -> Iterator[tuple[Policy, dict[str, str]]]:
    """The most accurate on each modality, put together; then those that give right answers the highest probability.

    A modality's results depend on its own stages alone, so that these are the best that presets can do together.
    """
    mine = [record for record in records if record.origin.startswith(f"{kind}:")]
    orders: tuple[Callable[[TrialRecord, str], float], ...] = (
        lambda record, modality: record.accuracy_by.get(modality, record.accuracy),
        lambda record, _: record.log_probability,
    )
    known = set[str]()
    for order in orders:
        stages: list[Stage] = []
        names: dict[str, str] = {}
        for modality in modalities:
            able = [record for record in mine if record.policy.modality(modality)]
            if able:
                best = max(able, key=lambda record: (order(record, modality), -record.number))
                stages.extend(best.policy.modality(modality))
                names[modality] = _name(mine, best.policy.modality(modality), modality)
        policy = Policy.of(stages)
        if stages and policy.content_hash() not in known:
            known.add(policy.content_hash())
            yield policy, names


def _name(records: Sequence[TrialRecord], stages: Sequence[Stage], modality: str) -> str:
    """What the seed with these stages on a modality is called.

    Where a preset does not take a modality another stands in, so that several seeds have the same stages there.
    """
    same = [record for record in records if record.policy.modality(modality) == tuple(stages)]
    mechanisms = {stage.mechanism for stage in stages}
    names = [record.origin.partition(":")[2] for record in same]
    taking = [name for name in names if name not in PRESETS or modality in PRESETS[name].modalities]
    return min(taking or names, key=lambda name: name not in mechanisms)


def _neighbours(points: Sequence[tuple[FrontRow, Results]], measured: Results) -> Iterator[Neighbour]:
    """The front's points just below and just above the exported policy's cost."""
    ordered = sorted(points, key=lambda point: point[0].flops_ratio)
    at = next(i for i, (row, _) in enumerate(ordered) if row.chosen)
    sides: tuple[tuple[Literal["cheaper", "dearer"], int], ...] = (("cheaper", at - 1), ("dearer", at + 1))
    for side, index in sides:
        if 0 <= index < len(ordered):
            row, results = ordered[index]
            yield Neighbour(side, row.trial, row.flops_ratio, results.difference(measured)["overall"])
