"""The reductions of a policy, one by one: budget, call, check, and what is told about it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from autotc.errors import AutotcError, MechanismError
from autotc.mechanisms import Mechanism, MechanismBase, Reduction, Score, Tokens, item_score, target_count
from autotc.models import Item
from autotc.models.media import Medium
from autotc.policy import Policy, Stage
from autotc.runtime.tracks import Track
from autotc.vocabulary import Modality


@dataclass(frozen=True)
class Step:
    """One reduction of the policy.

    Attributes:
        index: of its stage in the policy.
        stage, layer, keep_ratio: what it does, where; layer 0 at the projector.
        mechanism: built once.
    """

    index: int
    stage: Stage
    layer: int
    keep_ratio: float
    mechanism: MechanismBase

    @property
    def depth(self) -> int | None:
        """``layer``; None at input and projector."""
        return self.layer if self.stage.location in ("encoder", "decoder") else None

    @property
    def label(self) -> str:
        """Modality, location, layer and mechanism."""
        layer = "" if self.depth is None else f"[{self.layer}]"
        return f"{self.stage.modality} {self.stage.location}{layer} {self.stage.mechanism}"

    def targets(self, items: Sequence[Item], left: Sequence[int], levels: Sequence[float] | None = None) -> list[int]:
        """Tokens that it should leave of each item, of which so many are left.

        Args:
            items: of its modality.
            left: tokens of each.
            levels: of each, where its budget follows the item.
        """
        rule, budget = self.mechanism.target, self.stage.budget
        ratios = [self.keep_ratio] * len(items)
        if budget is not None:
            assert levels is not None  # found before the stage's first step
            ratios = [budget.ratio(self.keep_ratio, level) for level in levels]
        return [rule(r, item.n0, n, item.grid) for r, item, n in zip(ratios, items, left, strict=True)]

    def requested(self, items: Sequence[Item], levels: Sequence[float] | None = None) -> list[int]:
        """Tokens that the policy asks for of each item."""
        return self.targets(items, [item.n0 for item in items], levels)


@dataclass
class StageStats:
    """What one reduction did in one request.

    Attributes:
        stage: index of the stage in the policy.
        layer: of the reduction; None at input and projector.
        label: modality, location, layer and mechanism.
        requested: keep ratio x N0 of each item, rounded, the ratio its own where the budget follows it; at the input
            of each medium, which tiles may make up.
        realised: tokens each of them has left.
        untouched: how many of them already had no more tokens than requested, or could not be given fewer.
    """

    stage: int
    layer: int | None
    label: str
    requested: list[int]
    realised: list[int]
    untouched: int


@dataclass(frozen=True)
class Observation:
    """What one reduction of a policy saw and did.

    Attributes:
        stage: index of the stage in the policy.
        layer: of the reduction; None at input and projector.
        tokens, scores: what the mechanism was given.
        reduction: what it returned.
        requested: as in `StageStats`.
    """

    stage: int
    layer: int | None
    tokens: Tokens
    scores: dict[Score, Tensor]
    reduction: Reduction
    requested: list[int]


Observer = Callable[[Observation], None]


class Steps:
    """Runs a policy's reductions and keeps count of them.

    Attributes:
        stats: per request (the last 1,000), what each stage was asked for and left.
        seconds: per request, time the host spent on scores and mechanisms.
        synchronise: whether to wait for the device around them, so that ``seconds`` hold its time, not the launches'.
    """

    def __init__(self, policy: Policy, observer: Observer | None) -> None:
        self.stats: deque[list[StageStats]] = deque(maxlen=1000)
        self.seconds: deque[float] = deque(maxlen=1000)
        self._all = [
            Step(i, stage, layer or 0, ratio, stage.build(ratio))
            for i, stage in enumerate(policy.stages)
            for layer, ratio in stage.steps()
        ]
        self._observer = observer
        self._tower_stats: list[StageStats] = []
        self._tower_seconds = 0.0
        self.synchronise = False

    def __iter__(self) -> Iterator[Step]:
        return iter(self._all)

    def at(self, location: str, modality: Modality | None = None, layer: int | None = None) -> list[Step]:
        """The steps at a location, in order."""
        return [
            step
            for step in self._all
            if step.stage.location == location
            and (modality is None or step.stage.modality == modality)
            and (layer is None or step.layer == layer)
        ]

    def shrunk(self, modality: Modality, originals: Sequence[Medium], left: Sequence[int]) -> None:
        """Record what an input stage has left of each medium, which may have become several items.

        Args:
            modality: of the media.
            originals: what they were.
            left: tokens of each item.
        """
        for step in self.at("input", modality):
            requested = [target_count(step.keep_ratio, medium.n0, medium.n0) for medium in originals]
            realised, start = [], 0
            for medium in originals:
                realised.append(sum(left[start : start + medium.items]))
                start += medium.items
            untouched = sum(medium.n0 <= n for medium, n in zip(originals, realised, strict=True))
            self._tower_stats.append(StageStats(step.index, step.depth, step.label, requested, realised, untouched))

    def begin(self) -> None:
        """A request has reached the language model: what its towers did stands first in its record."""
        self.stats.append(self._tower_stats)
        self.seconds.append(self._tower_seconds)
        self._tower_stats, self._tower_seconds = [], 0.0

    @contextmanager
    def scoring(self, tower: bool = False) -> Iterator[None]:
        """Add the time spent inside to the request's; ``tower`` while its media are still being encoded."""
        if self.synchronise:
            torch.accelerator.synchronize()
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.synchronise:
                torch.accelerator.synchronize()
            spent = time.perf_counter() - start
            if tower:
                self._tower_seconds += spent
            else:
                self.seconds[-1] += spent

    def _record(self, step: Step) -> list[StageStats]:
        """The record of the request that a step acts on: towers run before it has reached the language model."""
        return self._tower_stats if step.stage.location == "encoder" else self.stats[-1]

    def unrated(self, track: Track, step: Step) -> bool:
        """Whether the step's budget follows the items, and their levels are yet to be found."""
        return step.stage.budget is not None and step.index not in track.levels

    def rate(self, track: Track, step: Step, tokens: Tokens, scores: dict[Score, Tensor]) -> None:
        """Find the level of each item for a stage's steps, its first and those to come; the host waits for the scores.

        Args:
            track: of the items.
            step: the stage's first that acts on them.
            tokens, scores: what its mechanism is given.
        """
        budget = step.stage.budget
        assert budget is not None  # asked before
        with self.scoring(tower=step.stage.location == "encoder"):
            scored = item_score(budget.score, step.stage.location, tokens, scores).tolist()
        track.levels[step.index] = [budget.level(score) for score in scored]

    def budget(self, track: Track, step: Step) -> list[int] | None:
        """Tokens to keep of each item; None when no item has more than that."""
        levels, left = track.levels.get(step.index), track.lengths
        targets = step.targets(track.items, left, levels)
        untouched = sum(target >= n for target, n in zip(targets, left, strict=True))
        requested = step.requested(track.items, levels)
        self._record(step).append(StageStats(step.index, step.depth, step.label, requested, [*left], untouched))
        if untouched == len(left) and self._observer is None and not step.mechanism.adaptive:
            return None
        return targets

    def run(self, step: Step, tokens: Tokens, targets: Sequence[int], scores: dict[Score, Tensor]) -> Reduction:
        """Call the mechanism and hold it to its contract.

        Raises:
            MechanismError: it failed, or returned what it must not.
        """
        name, adaptive = step.stage.mechanism, step.mechanism.adaptive
        try:
            assert isinstance(step.mechanism, Mechanism)  # input stages act before there are tokens
            reduction = step.mechanism.reduce(tokens, torch.tensor(targets, device=tokens.valid.device), scores)
        except AutotcError:
            raise
        except Exception as error:
            raise MechanismError(f"{name}: {type(error).__name__}: {error}") from error
        counts = reduction.counts
        if adaptive and not all(1 <= n <= most for n, most in zip(counts, targets, strict=True)):
            raise MechanismError(f"{name}: kept {counts} tokens, 1 to {list(targets)} are allowed")
        if not adaptive and counts != list(targets):
            raise MechanismError(f"{name}: kept {counts} tokens, {list(targets)} were asked for")
        if not reduction.is_selection and not bool(torch.isfinite(reduction.weight).all()):
            raise MechanismError(f"{name}: returned weights that are not finite")
        return reduction

    def done(self, step: Step, tokens: Tokens, scores: dict[Score, Tensor], reduction: Reduction) -> None:
        """Record a reduction and show it to the observer."""
        record = self._record(step)[-1]
        record.realised = reduction.counts
        if self._observer is not None:
            seen = Observation(step.index, step.depth, tokens, scores, reduction, [*record.requested])
            self._observer(seen)
