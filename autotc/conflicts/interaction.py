"""Measured interactions: what a stack of two stages gains or loses against the better of the two at the same cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autotc.conflicts.pairs import Alone, Pair, alone_at, flops_ratio
from autotc.errors import DataError, PolicyError
from autotc.evaluate.base import RESAMPLES, Interval, Results, Split, bootstrap_mean
from autotc.evaluate.model import ModelEvaluator
from autotc.evaluate.store import ResultStore
from autotc.mechanisms import Modality
from autotc.policy import Policy

Verdict = Literal["synergy", "neutral", "conflict"]
Array = NDArray[np.float64]
FOLDS = 5
"""Parts of the samples in the choice of the better single stage; no multiple of the embedded benchmark's tasks, which
are asked in turn."""


def verdict(interval: Interval) -> Verdict:
    """What an interaction's interval says: a conflict lies wholly below zero, a synergy wholly above."""
    _, low, high = interval
    return "conflict" if high < 0 else "synergy" if low > 0 else "neutral"


def interact(stack: Array, alone: Sequence[Array]) -> Interval:
    """Accuracy of a stack minus that of the better single stage, with its paired 95% interval.

    The better of two measured means is too good on average, by as much as their noise, and a stack that is as good as
    both would seem to conflict. So the better one is chosen on four fifths of the samples and compared on the fifth
    that had no part in the choice, in turn; where one is clearly better the choice is always the same and this is the
    plain paired difference. The interval is of a bootstrap over samples within which the choice is made anew.

    Args:
        stack: (n,) scores of the samples, sample i being the same everywhere.
        alone: one or two of the same, of single stages at the stack's cost.

    Raises:
        DataError: there are fewer than 2 samples, or not equally many of each.
    """
    n = len(stack)
    if n < 2 or not alone or any(len(one) != n for one in alone):
        raise DataError(
            f"{n} samples of the stack, {[len(one) for one in alone]} of single stages given; at least 2, equally many,"
            " are needed to compare them in pairs"
        )
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
    value = float(_crossed(np.ones((1, n)), stack, alone)[0])
    low, high = np.quantile(_crossed(counts, stack, alone), [0.025, 0.975])
    return value, float(low), float(high)


def _crossed(counts: Array, stack: Array, alone: Sequence[Array]) -> Array:
    """The cross-fitted difference of each resample, given how often it holds each sample (resamples, n)."""
    n = len(stack)
    fold = np.arange(n) % min(FOLDS, n)
    total = np.zeros(len(counts))
    sums = np.stack([counts @ one for one in alone])
    size = counts.sum(1)
    for f in range(min(FOLDS, n)):
        mine = counts[:, fold == f]
        inside = np.stack([mine @ one[fold == f] for one in alone])
        # Means over the other folds; all have one size, so sums would do but for a fold that holds every sample.
        outside = (sums - inside) / np.maximum(size - mine.sum(1), 1.0)
        chosen = outside.argmax(0)
        total += mine @ stack[fold == f] - inside[chosen, np.arange(len(counts))]
    return total / size


def additive(stack: Array, first: Array, second: Array, none: Array) -> Interval:
    """acc(AB) - acc(A) - acc(B) + acc(none), A and B alone at the ratios they have in the stack; paired interval."""
    return bootstrap_mean(stack - first - second + none)


class ConflictStore(ResultStore):
    """Per-sample results of stacks and single stages."""

    kind = "conflicts"


def open_store(evaluator: ModelEvaluator, split: Split, limit: int | None, folder: Path) -> ConflictStore:
    """The store of a folder, for this model and these samples.

    Raises:
        DataError: the folder holds results of something else.
    """
    info = evaluator.info(split)
    stamp: dict[str, Any] = {
        "format": 1,
        "evaluator": evaluator.name,
        "architecture": evaluator.model.architecture,
        "fingerprint": evaluator.model.fingerprint,
        "split": split,
        "limit": limit,
        "samples_sha256": info.sha256,
    }
    store = ConflictStore(folder, stamp)
    store.open()
    return store


@dataclass(frozen=True)
class Measured:
    """One pair's interaction.

    Attributes:
        pair: what was stacked.
        interaction: of the stack and the better stage alone at its cost, with its 95% interval.
        additive: acc(AB) - acc(A) - acc(B) + acc(none), A and B at the ratios they have in the stack.
        accuracy: means of ``stack``, ``first`` and ``second`` (alone at the stack's cost), ``first_own`` and
            ``second_own`` (alone at their ratios in the stack), ``none``.
        flops_ratio: of ``stack``, ``first`` and ``second``.
        reached: which of ``first`` and ``second`` can cost as little as the stack; the others are no alternative.
        ratios: final keep ratios of ``first`` and ``second`` there.
        samples: compared.
    """

    pair: Pair
    interaction: Interval
    additive: Interval
    accuracy: dict[str, float]
    flops_ratio: dict[str, float]
    reached: tuple[str, ...]
    ratios: dict[str, float]
    samples: int

    @property
    def verdict(self) -> Verdict:
        """Synergy, neutral or conflict."""
        return verdict(self.interaction)

    @property
    def better(self) -> str:
        """``first`` or ``second``: the more accurate one at the stack's cost."""
        return max(self.reached, key=lambda name: self.accuracy[name])


def alternatives(evaluator: ModelEvaluator, pair: Pair, split: Split) -> tuple[float, dict[str, Alone]]:
    """FLOPs ratio of a pair's stack, and each stage alone moved onto it."""
    target = flops_ratio(evaluator, pair.stack(), split, pair.modality)
    named = zip(("first", "second"), pair.stages(), strict=True)
    return target, {name: alone_at(evaluator, stage, target, split) for name, stage in named}


def measure_pair(
    evaluator: ModelEvaluator, store: ConflictStore, pair: Pair, split: Split, limit: int | None
) -> Measured:
    """Measure one pair; what the store knows does not run again.

    Raises:
        PolicyError: the stack does not fit the model, or neither stage can cost as little as the stack.
    """

    def run(policy: Policy) -> Array:
        key = f"{pair.modality}-{policy.content_hash()}"
        found = store.results(key, lambda: evaluator.run(policy, split, limit=limit, groups=[pair.modality]))
        return _scores(found, pair.modality)

    target, alone = alternatives(evaluator, pair, split)
    reached = tuple(name for name, found in alone.items() if found.reached)
    if not reached:
        raise PolicyError(f"{pair.label}: neither stage alone can cost as little as the stack, {target:.3f}")
    stack, none = run(pair.stack()), run(Policy())
    scores = {name: run(alone[name].policy) for name in reached}
    own = [run(Policy(stages=(stage,))) for stage in pair.stages()]
    means = {name: float(values.mean()) for name, values in scores.items()}
    return Measured(
        pair,
        interact(stack, [scores[name] for name in reached]),
        additive(stack, own[0], own[1], none),
        {
            "stack": float(stack.mean()),
            **means,
            "first_own": float(own[0].mean()),
            "second_own": float(own[1].mean()),
            "none": float(none.mean()),
        },
        {"stack": target, **{name: found.flops_ratio for name, found in alone.items()}},
        reached,
        {name: found.policy.stages[0].final_ratio for name, found in alone.items()},
        len(stack),
    )


def _scores(results: Results, modality: Modality) -> Array:
    return results.groups("modality")[modality]
