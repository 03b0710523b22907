"""Scores of whole items: what an adaptive budget follows. Each says how much an item, or what is asked of it, is spread
over its tokens, so that more of a higher one are worth keeping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotc.errors import PolicyError
from autotc.lazy import Tensor
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import ItemScore, Location

TEMPERATURE = 0.1
"""What cosines to the query are divided by."""

_NEEDS: dict[ItemScore, dict[Location, tuple[Score, ...]]] = {
    "variety": {"encoder": (), "projector": (), "decoder": ()},
    "text_entropy": {"projector": ("text_similarity",), "decoder": ("text_similarity",)},
    "attention_entropy": {
        "encoder": ("received_attention",),
        "projector": ("cls_attention",),
        "decoder": ("last_query_attention",),
    },
    "text_information": {"decoder": ("text_attention",)},
}


def item_needs(name: ItemScore, location: Location) -> tuple[Score, ...]:
    """What an item's score reads beside its tokens at a location.

    Raises:
        PolicyError: it does not exist there.
    """
    known = _NEEDS[name]
    if location not in known:
        raise PolicyError(f"budget.score: {name} does not exist at the {location}; it does at {', '.join(known)}")
    return known[location]


def item_score(name: ItemScore, location: Location, tokens: Tokens, scores: Mapping[Score, Tensor]) -> Tensor:
    """Score of each item, (B,) float32; the padding of a batch does not enter.

    Args:
        name, location: which, and where the stage stands.
        tokens: the items, one row each.
        scores: what `item_needs` names, aligned with the tokens.
    """
    needs: Sequence[Score] = item_needs(name, location)
    if name == "variety":
        return _variety(tokens)
    given = scores[needs[0]].float()
    if name == "text_information":
        return _information(given, tokens.valid)
    if name == "text_entropy":
        given = (given / TEMPERATURE).masked_fill(~tokens.valid, -float("inf")).softmax(1)
    return _entropy(given, tokens.valid)


def _variety(tokens: Tokens) -> Tensor:
    """1 - mean cosine of two different tokens, (B,); 0 of a single token."""
    unit = tokens.unit_features()
    n = tokens.count.float()
    pairs = unit.sum(1).square().sum(1) - unit.square().sum((1, 2))
    out: Tensor = (1.0 - pairs / (n * (n - 1)).clamp_min(1.0)).masked_fill(n < 2, 0.0)
    return out


def _entropy(share: Tensor, valid: Tensor) -> Tensor:
    """Entropy of shares (B, N), scaled to sum to 1, relative to that of equal ones, (B,); 0 of a single token."""
    share = share.masked_fill(~valid, 0.0).clamp_min(0.0)
    share = share / share.sum(1, keepdim=True).clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum(1)
    return entropy / valid.sum(1).float().clamp_min(2.0).log()


def _information(attention: Tensor, valid: Tensor) -> Tensor:
    """Mutual information in bits of T text tokens, each as likely, and an item's N, of attention (B, N, T)."""
    attention = attention.masked_fill(~valid[..., None], 0.0)
    asked = (attention.sum(1) > 0).sum(1).clamp_min(1)[:, None, None]
    mean = attention.sum(2, keepdim=True) / asked
    ratio = (attention / mean.clamp_min(1e-12)).clamp_min(1e-6)
    return (attention / asked * ratio.log2()).sum((1, 2))
