"""Schedules fitted offline: how many tokens each layer keeps, from attention on a few samples (2409.10197)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autotc.errors import PolicyError

Array = NDArray[np.float64]
_TOLERANCE = 1e-4
"""Width at which the search for the loss ends."""


def fit_counts(self_attention: Sequence[ArrayLike], cross_attention: Sequence[ArrayLike], target: float) -> list[float]:
    """FitPrune's schedule: the smallest loss of attention, the same at every layer, that meets a budget.

    At a loss a, a layer drops a token if it is among the least attended by the item and among the least attended by the
    text, each set as large as it can be while the tokens left receive 1 - a of what the layer's tokens received in all
    before any pruning. Tokens once dropped stay dropped; at least one stays; dropping ends as soon as what is left,
    kept through the layers to come, meets the budget. The loss is found by bisection.

    As in the official code (`statistical_analysis.py`), except that it runs the model again, layer by layer, without
    the dropped tokens, where this reads attention without pruning, as measured once; that it returns the last loss
    tried, where this returns the smallest that met the budget; and that its budget is a share of FLOPs, where this is
    one of tokens: what a layer multiplies grows with tokens but for 2% at its 576 tokens of width 4096.

    Args:
        self_attention: one array (layers, N) for each calibration sample: what each token receives from the item's
            tokens, maximum over heads (`received_attention`). N may differ between samples.
        cross_attention: the same, from the text (`text_attention`, summed over the query).
        target: in (0, 1], mean keep ratio over layers.

    Returns:
        For each layer, the keep ratio of N0 before it, mean over samples; the first is 1, none rises, and their mean is
        at most the target.

    Raises:
        PolicyError: the target is out of range or below what one token a layer leaves, or shapes differ.
    """
    pairs = [
        (np.asarray(from_item, float), np.asarray(from_text, float))
        for from_item, from_text in zip(self_attention, cross_attention, strict=False)
    ]
    if not pairs or len(self_attention) != len(cross_attention):
        raise PolicyError(
            f"attention: {len(self_attention)} and {len(cross_attention)} samples given; as many of both are needed"
        )
    shapes = {from_item.shape for from_item, _ in pairs} | {from_text.shape for _, from_text in pairs}
    if (
        any(from_item.shape != from_text.shape for from_item, from_text in pairs)
        or len({shape[:1] for shape in shapes}) > 1
    ):
        raise PolicyError(f"attention: shapes {sorted(shapes)} given; (layers, tokens), alike in both, is needed")
    if not 0 < target <= 1:
        raise PolicyError(f"target: {target!r} given; a mean keep ratio in (0, 1] is allowed")
    low, high, best = 0.0, 1.0, _schedule(pairs, target, 1.0)
    if np.mean(best) > target:
        raise PolicyError(f"target: {target:g} given; these samples allow {np.mean(best):.4g} or more")
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        tried = _schedule(pairs, target, middle)
        if np.mean(tried) <= target:
            high, best = middle, tried
        else:
            low = middle
    return best


def _schedule(pairs: Sequence[tuple[Array, Array]], target: float, loss: float) -> list[float]:
    """Keep ratio before each layer at one loss; ends dropping once the budget is met."""
    layers = len(pairs[0][0])
    left = [np.ones(from_item.shape[1], bool) for from_item, _ in pairs]
    ratios: list[float] = []
    while len(ratios) < layers:
        now = float(np.mean([kept.mean() for kept in left]))
        forecast = (sum(ratios) + now * (layers - len(ratios))) / layers
        if forecast <= target:
            return ratios + [now] * (layers - len(ratios))
        layer = len(ratios)
        ratios.append(now)
        for kept, (from_item, from_text) in zip(left, pairs, strict=True):
            kept &= ~(_least(from_item[layer], kept, loss) & _least(from_text[layer], kept, loss))
    return ratios


def _least(attention: Array, kept: NDArray[np.bool_], loss: float) -> NDArray[np.bool_]:
    """Of the kept tokens, the least attended that may go together; at least one never does."""
    place = np.flatnonzero(kept)
    order = place[np.argsort(attention[place], kind="stable")]
    remaining = attention[place].sum() - np.cumsum(attention[order[:-1]])
    # What remains falls with every token, so those that may go come first.
    count = int((remaining >= (1.0 - loss) * attention.sum()).sum())
    out = np.zeros_like(kept)
    out[order[:count]] = True
    return out
