"""PruneSID: principal components group tokens, each group suppresses what is alike (2603.09480; official code)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate_bounded
from autotc.mechanisms.apart import frame_rows
from autotc.mechanisms.clustering import centres_apart
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups, group_cosine
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_per_group
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

MOST = 5
"""Tokens of a group at first, for every 64 survivors or part of them."""
ROUNDS = 2
"""Rounds of subspace iteration, as in the official code."""


class PruneSidParams(Params):
    """Parameters of `PruneSid`, with the official code's values.

    Attributes:
        group_size: survivors for each principal component.
        suppression: the cosine that suppresses is the item's mean cosine times this times the share that survives, at
            least that mean; 18 is the code's divisor of 32 at 576 tokens.
    """

    group_size: int = Field(4, ge=1)
    suppression: float = Field(18.0, ge=0)


class PruneSid(Mechanism):
    """Tokens belong to the principal component that they load on most; groups keep them by the class token's attention.

    Components are those of the sigmoid of the features, a token being a variable and a channel a sample. In a group, a
    token is suppressed by one of higher attention that is more alike than a threshold. Every group keeps one token, the
    rest is shared in proportion to what is not suppressed, at most 5 for every 64 survivors while that suffices.
    Components are approximated by subspace iteration as in the official code, started from cosines along the channels
    and not at random. Frames are compressed apart, and equal ones keep equally many: how the paper sets a ratio for
    each image is not in the code. For Qwen2-VL the code ranks by the loadings in place of attention.
    """

    name = "prunesid"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention by principal component"
    source = "PruneSID, arXiv 2603.09480; `CLIPVisionTower_PruneSID` of the official code"
    Params = PruneSidParams
    params: PruneSidParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        place, count = frame_rows(tokens, budget)
        present, at = place >= 0, place.clamp_min(0)
        x = tokens.features.float().flatten(0, 1)[at].masked_fill(~present[..., None], 0.0)
        unit = tokens.unit_features().flatten(0, 1)[at].masked_fill(~present[..., None], 0.0)
        # One component for so many survivors, at most as many as can differ.
        wanted = (count // self.params.group_size).clamp(1, max(1, x.shape[2] - 1))
        groups = int(wanted.max())
        group = self._components(x, wanted, present, groups)
        whole = torch.zeros_like(group)
        rank = rank_in_group(scores["cls_attention"].flatten()[at], whole, present)

        mean = group_cosine(unit, whole, present, 1)
        ratio = (self.params.suppression * count / present.sum(1).clamp_min(1)).clamp_min(1.0)
        far = (torch.bmm(unit, unit.mT) <= (ratio[:, None] * mean)[..., None]).float()
        before = (group[:, :, None] == group[:, None]) & (rank[:, None] < rank[:, :, None]) & present[:, None]
        alone = centres_apart(far, before, present, torch.full_like(ratio, 0.5))

        apart = count_groups(group, alone, groups)
        most = torch.minimum(apart, (MOST * -(-count // 64))[:, None])
        share = allocate_bounded(count, apart, most, count_groups(group, present, groups))
        order = -rank.masked_fill(alone, 0) - torch.where(alone, rank, rank.shape[1])
        best = top_per_group(order.float(), group, share, present)
        chosen = torch.zeros(tokens.valid.numel(), dtype=torch.bool, device=present.device)
        chosen[place[best]] = True
        return Reduction.select(chosen.view(tokens.valid.shape))

    @staticmethod
    def _components(x: Tensor, wanted: Tensor, present: Tensor, groups: int) -> Tensor:
        """The principal component (R, P) long that each token loads on most, of the first ``wanted`` (R,)."""
        squashed = x.sigmoid()
        squashed = (squashed - squashed.mean(2, keepdim=True)).masked_fill(~present[..., None], 0.0)
        number = torch.arange(groups, device=x.device)
        channel = (torch.arange(x.shape[2], device=x.device) + 0.5) / x.shape[2]
        start = (math.pi * channel[:, None] * (number + 1)).cos()
        real = (number < wanted[:, None])[:, None].float()
        basis = torch.linalg.qr(torch.bmm(squashed, start.expand(len(x), -1, -1)) * real).Q * real
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(torch.bmm(squashed.mT, basis)).Q * real
            basis = torch.linalg.qr(torch.bmm(squashed, basis)).Q * real
        sample = torch.bmm(squashed.mT, basis)
        _, vectors = torch.linalg.eigh(torch.bmm(sample.mT, sample))
        loading = torch.bmm(basis, vectors.flip(2)).abs()
        out: Tensor = loading.masked_fill(real == 0, -1.0).argmax(2)
        return out

    def flops(self, work: Work) -> int:
        frames = work.frames if 1 < work.frames < work.n else 1
        n, m = -(-work.n // frames), -(-work.m // frames)
        q = min(max(1, m // self.params.group_size), max(1, work.d - 1))
        components = (4 * ROUNDS + 4) * n * work.d * q + 2 * q * q * (work.d + n)
        return frames * (components + 2 * n * n * work.d)
