"""What a policy makes of items' tokens: which are kept, lost and merged, and what that costs by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autotc.mechanisms import Reduction


@dataclass(frozen=True)
class Reference:
    """What the uncompressed model makes of samples.

    Attributes:
        features: (B, N, D) of norm 1, the items' tokens after the projector, right-aligned to the longest.
        importance: (B, N) attention of the prompt's last token, mean over decoder layers from 1; an item's sum to 1.
        logits: (R, V) after the prompt, centred.
    """

    features: Tensor
    importance: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Trace:
    """What a policy makes of the same samples.

    Attributes:
        valid: (B, N) bool; False marks the padding on the left.
        kept: (B, N) bool, tokens whose positions survive.
        lost: (B, N) bool, tokens that no survivor stands for.
        merged: (B, N) bool, tokens that share a survivor with others.
        damage: what the policy costs by itself, each larger where more is lost. ``shift``: how far the logits after the
            prompt move, relative to their size. ``answer``: total variation between the next token's distributions.
            ``importance``: share of the attention whose tokens are lost or diluted by merging. ``coverage``: mean
            distance (1 - cosine, after the projector) from a token to the nearest survivor. The last two are missing
            where an input stage changed the grid.
        shifts: (R,) ``shift`` of each request.
    """

    valid: Tensor
    kept: Tensor
    lost: Tensor
    merged: Tensor
    damage: Mapping[str, float]
    shifts: Tensor


def trace(source: Reduction, lengths: Sequence[int], logits: Tensor, reference: Reference) -> Trace:
    """What became of the items' tokens.

    Args:
        source: on the host, from the items' N tokens to those left: the product of all reductions.
        lengths: tokens that each item had.
        logits: (R, V) under the policy, centred.
        reference: of the uncompressed model.
    """
    rows, n = source.keep.shape[0], source.size
    survives = source.keep >= 0
    valid = torch.arange(n) >= n - torch.tensor(lengths)[:, None]
    kept = torch.zeros(rows, n, dtype=torch.bool)
    kept[survives.nonzero()[:, 0], source.keep[survives]] = True
    # Tokens and survivors of all rows in one flat index each.
    token = source.row * n + source.src
    survivor = source.row * source.keep.shape[1] + source.dst
    # A token's largest weight in any survivor: 0 where it is lost, below 1 where it is averaged with others.
    share = torch.zeros(rows * n).scatter_reduce_(0, token, source.weight.abs().float(), "amax").view(rows, n)
    crowd = torch.bincount(survivor, minlength=source.keep.numel())
    merged = torch.zeros(rows * n, dtype=torch.bool)
    merged[token[crowd[survivor] > 1]] = True
    shifts = (logits - reference.logits).norm(dim=1) / reference.logits.norm(dim=1).clamp_min(1e-6)
    variation = (logits.softmax(1) - reference.logits.softmax(1)).abs().sum(1) / 2
    damage = {"shift": float(shifts.mean()), "answer": float(variation.mean())}
    if n == reference.features.shape[1]:
        damage["importance"] = 1 - float((reference.importance * share).sum(1).mean())
        damage["coverage"] = _coverage(source, survives, valid, reference)
    return Trace(
        valid=valid,
        kept=kept,
        lost=(share == 0) & valid,
        merged=merged.view(rows, n),
        damage=damage,
        shifts=shifts,
    )


def _coverage(source: Reduction, survives: Tensor, valid: Tensor, reference: Reference) -> float:
    """Mean distance (1 - cosine) from a token to the nearest survivor."""
    survivors = source.apply(reference.features)
    survivors = survivors / survivors.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    cosine = torch.einsum("bnd,bmd->bnm", reference.features, survivors).masked_fill(~survives[:, None], -1.0)
    return float((1 - cosine.amax(2))[valid].mean())


def _share(inside: Tensor, of: Tensor) -> float:
    """Share of the tokens ``of`` that are ``inside``, over all samples; 0 where there are none."""
    total = float(of.sum())
    return float((inside & of).sum()) / total if total else 0.0


def redundancy(first: Trace, second: Trace) -> float:
    """How much of what the first drops the second alone would drop too: 0 as by chance, 1 all that it can."""
    dropped_first, dropped_second = ~first.kept & first.valid, ~second.kept & second.valid
    expected = _share(dropped_second, second.valid)
    if expected == 1 or not dropped_first.any():
        return 0.0
    return (_share(dropped_second, dropped_first) - expected) / (1 - expected)


def disagreement(first: Trace, second: Trace) -> float:
    """How little two rankings share of their best tokens: 0 all, 1 as by chance, above 1 less than by chance.

    The two keep equally many.
    """
    expected = _share(second.kept, second.valid)
    agreed = (_share(second.kept, first.kept) - expected) / (1 - expected) if expected < 1 else 1.0
    return 1 - agreed


def concentrated_loss(first: Trace, stack: Trace) -> float:
    """Share of the tokens that the first stage merged with others whose survivor the second then drops."""
    return _share(stack.lost, first.merged)


def covered(seen: Trace) -> float:
    """Share of the items' tokens that some survivor stands for."""
    return 1 - _share(seen.lost, seen.valid)
