"""The cost of one prefill: a batch is followed through towers and language model, and what runs is added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotc.cost.layers import kept_bytes, layer_flops
from autotc.cost.record import Cost, Reduced
from autotc.cost.request import Request, shrunk
from autotc.cost.scoring import Batch, language_model_scoring, tower_mechanism, tower_scores
from autotc.cost.towers import block_flops, running_rows
from autotc.models import BoundAdapter, Item
from autotc.policy import Policy, Stage
from autotc.vocabulary import MODALITIES, Modality

Realised = Mapping[tuple[int, int | None], Sequence[int]]
"""(index of a stage in the policy, layer) -> tokens it left of each item of its modality, in the batch's order."""


def prefill_cost(
    bound: BoundAdapter,
    policy: Policy,
    batch: Sequence[Request],
    element_bytes: int = 4,
    realised: Realised | None = None,
) -> Cost:
    """Cost of one prefill of a batch under a policy.

    Args:
        bound: of the model.
        policy: any policy that fits the model.
        batch: requests; rows are padded to the longest.
        element_bytes: size of a cached element.
        realised: what adaptive stages were seen to leave; without it they are charged at their budget.
    """
    prefill = _Prefill(bound, policy, batch, realised or {})
    for modality in MODALITIES:
        prefill.run_tower(modality)
    for modality in MODALITIES:
        prefill.reduce_behind_tower(modality)
    return prefill.cost(element_bytes)


@dataclass
class _Passing:
    """An item on its way.

    Attributes:
        item: as its input stage left it.
        counts: its tokens at each decoder layer.
    """

    item: Item
    counts: list[int] = field(default_factory=list)


class _Prefill:
    """A batch on its way through a model, and what it has cost so far."""

    def __init__(self, bound: BoundAdapter, policy: Policy, batch: Sequence[Request], realised: Realised) -> None:
        self._bound, self._policy, self._realised = bound, policy, realised
        self._number = {id(stage): i for i, stage in enumerate(policy.stages)}
        self._batch = [shrunk(bound, policy, request) for request in batch]
        self._rows = [[_Passing(item) for item in request.items] for request in self._batch]
        self._encoder = self._projector = self._scoring = 0.0
        self._towers: dict[str, tuple[float, float]] = {}
        self._reductions: list[Reduced] = []

    def _members(self, modality: Modality) -> list[_Passing]:
        return [passing for row in self._rows for passing in row if passing.item.modality == modality]

    def _left_by(self, stage: Stage, layer: int | None, items: Sequence[Item], before: Sequence[int]) -> list[int]:
        """Tokens that a step leaves of each item."""
        seen = self._realised.get((self._number[id(stage)], layer))
        if seen is not None:
            return list(seen)
        ratio, target = dict(stage.steps())[layer], stage.build().target
        return [target(ratio, item.n0, n, item.grid) for item, n in zip(items, before, strict=True)]

    def run_tower(self, modality: Modality) -> None:
        """A modality's items through their tower and projector, encoder stages on the way."""
        members = self._members(modality)
        if not members:
            return
        bound, stages = self._bound, self._policy.modality(modality)
        items = [passing.item for passing in members]
        left = [item.count for item in items]
        steps = {layer: stage for stage in stages if stage.location == "encoder" for layer, _ in stage.steps()}
        ran = pairs = 0.0
        for block in range(bound.depths.encoder.get(modality, 0)):
            rows = running_rows(bound, items, block, left)
            self._encoder += block_flops(bound.tower(modality), rows)
            ran, pairs = ran + sum(rows), pairs + sum(r * r for r in rows)
            self._scoring += tower_scores(bound, stages, block, rows)
            if block in steps:
                after = self._left_by(steps[block], block, items, left)
                if after != left:
                    self._reductions.append(Reduced(steps[block], len(items), max(left), max(after)))
                    self._scoring += tower_mechanism(bound, steps[block], items, left, after)
                left = after
        self._towers[modality] = (ran, pairs)
        for passing, count in zip(members, left, strict=True):
            # Stem and projector run on every unit: before any was dropped, and on holes.
            self._encoder += bound.stem_flops(passing.item)
            self._projector += bound.projector_flops(passing.item)
            passing.counts = [count] * bound.decoder.depth

    def reduce_behind_tower(self, modality: Modality) -> None:
        """What a modality's projector and decoder stages remove, and what that costs; its tower has run."""
        members = self._members(modality)
        if not members:
            return
        for stage in self._policy.modality(modality):
            if stage.location not in ("projector", "decoder"):
                continue
            for layer, _ in stage.steps():
                self._reduce(stage, layer, members)

    def _reduce(self, stage: Stage, layer: int | None, members: Sequence[_Passing]) -> None:
        """One step: fewer tokens of each item from a decoder layer on; a projector stage acts before layer 0."""
        depth = layer or 0
        items = [passing.item for passing in members]
        before = [passing.counts[depth] for passing in members]
        after = self._left_by(stage, layer, items, before)
        if before == after:
            return
        step = Reduced(stage, len(items), max(before), max(after))
        self._reductions.append(step)
        query = max(1, *(request.query for request in self._batch))
        source = depth if stage.build().score_source == "own" else max(0, depth - 1)
        batch = Batch(len(self._batch), self._length(depth), query, self._bound.decoder.layers[source])
        self._scoring += language_model_scoring(self._bound, step, batch, max(item.grid[0] for item in items))
        for passing, n in zip(members, after, strict=True):
            passing.counts[depth:] = [n] * (self._bound.decoder.depth - depth)

    def _length(self, layer: int) -> int:
        """Tokens of the longest row at a decoder layer."""
        return max(
            request.text + sum(passing.counts[layer] for passing in row)
            for request, row in zip(self._batch, self._rows, strict=True)
        )

    def cost(self, element_bytes: int) -> Cost:
        """All of it, the language model's layers and head included."""
        decoder = self._bound.decoder
        lengths = tuple(self._length(layer) for layer in range(decoder.depth))
        layers = list(zip(decoder.layers, lengths, strict=True))
        rows = len(self._batch)
        tokens: Counter[str] = Counter()
        lm_tokens: dict[str, float] = {}
        for passing in (passing for row in self._rows for passing in row):
            modality = passing.item.modality
            tokens[modality] += passing.counts[-1]
            lm_tokens[modality] = lm_tokens.get(modality, 0.0) + sum(passing.counts) / decoder.depth
        return Cost(
            encoder=self._encoder,
            projector=self._projector,
            decoder=rows * (sum(layer_flops(decoder.width, *of) for of in layers) + 2 * lengths[0] * decoder.entry),
            head=rows * 2 * lengths[-1] * decoder.width * decoder.vocabulary,
            scoring=self._scoring,
            kv_bytes=sum(
                rows * kept_bytes(*layer, window, element_bytes)
                for layer, window in zip(layers, self._bound.windows, strict=True)
            ),
            tokens=dict(tokens),
            lm_tokens=lm_tokens,
            lengths=lengths,
            towers=self._towers,
            reductions=tuple(self._reductions),
        )
