"""What a study's trials say of places and of stacks: the best at each location, and pairs that help or hurt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autotc.policy import Policy, Stage
from autotc.records.account import StudyAccount, Tried
from autotc.vocabulary import LOCATIONS


@dataclass(frozen=True)
class AtLocation:
    """The most accurate of a modality's policies whose stages all stand at one location.

    Attributes:
        location: where they stand.
        policies: that were tried there.
        lowest: FLOPs ratio of the cheapest of them, on the modality's samples.
        stages: of the most accurate within the budget, in words; None where none is within it.
        accuracy, flops_ratio: of that one, on the modality's samples of the search split.
    """

    location: str
    policies: int
    lowest: float
    stages: str | None
    accuracy: float | None
    flops_ratio: float | None


@dataclass(frozen=True)
class Pairs:
    """What pairs of stages gained or lost on a modality's samples.

    Attributes:
        firsts, thens: mechanisms with their places, as first and as second stage of a stack.
        cells: (first, then) -> mean change in accuracy of the stacks of the two, each against the most accurate single
            stage that costs no more; and how many stacks that is of.
    """

    firsts: tuple[str, ...] = ()
    thens: tuple[str, ...] = ()
    cells: Mapping[tuple[str, str], tuple[float, int]] = field(default_factory=dict)


def at_locations(account: StudyAccount, modality: str) -> list[AtLocation]:
    """What each location can do for a modality, in the order of the locations; without those that nothing stood at."""
    limit = account.budget.get(f"FLOPs of {modality}", account.budget.get("prefill FLOPs", 1.0))
    rows = []
    for location in LOCATIONS:
        there = [
            (one, stages)
            for one, stages in _of(account, modality)
            if stages and {stage.location for stage in stages} == {location}
        ]
        if not there:
            continue
        within = [row for row in there if row[0].flops_ratio_by[modality] <= limit + 1e-9]
        best = max(
            within, key=lambda row: (row[0].accuracy_by[modality], -row[0].flops_ratio_by[modality]), default=None
        )
        rows.append(
            AtLocation(
                location=location,
                policies=len({Policy(stages=stages).content_hash() for _, stages in there}),
                lowest=min(one.flops_ratio_by[modality] for one, _ in there),
                stages=None if best is None else "; ".join(stage.label() for stage in best[1]),
                accuracy=None if best is None else best[0].accuracy_by[modality],
                flops_ratio=None if best is None else best[0].flops_ratio_by[modality],
            )
        )
    return rows


def pairs(account: StudyAccount, modality: str) -> Pairs:
    """Stacks of two stages against single stages, from the policies that ran on all samples of the search split."""
    tried = list(_of(account, modality))
    single = [(one.flops_ratio_by[modality], one.accuracy_by[modality]) for one, stages in tried if len(stages) == 1]
    changes: dict[tuple[str, str], dict[str, float]] = {}
    for one, stages in tried:
        if len(stages) != 2:
            continue
        cheaper = [accuracy for cost, accuracy in single if cost <= one.flops_ratio_by[modality] + 1e-9]
        if cheaper:
            key = _kind(stages[0]), _kind(stages[1])
            changes.setdefault(key, {})[Policy(stages=stages).content_hash()] = one.accuracy_by[modality] - max(cheaper)
    cells = {key: (sum(values.values()) / len(values), len(values)) for key, values in changes.items()}
    return Pairs(tuple(sorted({first for first, _ in cells})), tuple(sorted({then for _, then in cells})), cells)


def _of(account: StudyAccount, modality: str) -> Iterator[tuple[Tried, tuple[Stage, ...]]]:
    """Policies that were measured on samples of the modality alone, with their stages there."""
    for one in account.tried:
        if modality in one.accuracy_by and modality in one.flops_ratio_by:
            yield one, tuple(stage for stage in one.stages if stage.modality == modality)


def _kind(stage: Stage) -> str:
    return f"{stage.mechanism} at the {stage.location}"
