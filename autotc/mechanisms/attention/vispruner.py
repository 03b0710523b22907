"""VisPruner: attended tokens, and of the rest those that are left once duplicates go (2412.01818; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

ROUND = 8
"""Tokens that leave in a round."""
PUBLISHED = 576
"""Tokens of the published images; larger items lose proportionally more a round, so that rounds stay few."""


class VisPrunerParams(Params):
    """Parameters of `VisPruner`; ``important_ratio``: share of the survivors chosen by attention, published 0.5."""

    important_ratio: float = Field(0.5, ge=0, le=1)


class VisPruner(Mechanism):
    """Top of the class token's attention; the rest is thinned round by round, most duplicated tokens first.

    As in the official code, the rest is listed by falling attention, every second token is matched with the others by
    cosine, those with the closest match leave, 8 a round, and the remaining matched tokens go to the front of the list,
    the most alike first. Items of more than 576 tokens lose proportionally more a round. Similarity is that of features
    after the projector, where the code takes the tower's; odd numbers of tokens, which the code cannot take, leave the
    last one matched.
    """

    name = "vispruner"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention with distinctness"
    source = "VisPruner, arXiv 2412.01818; `encode_images` of the official code"
    Params = VisPrunerParams
    params: VisPrunerParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, score = tokens.valid, scores["cls_attention"]
        important_count = (budget.double() * self.params.important_ratio + 1e-9).long()
        important = top_mask(score, important_count, valid)
        rest, diverse = valid & ~important, budget - important_count
        left = torch.where(diverse > 0, rest.sum(1), 0)
        if not bool((left > diverse).any()):
            return Reduction.select(important | (rest & (diverse > 0)[:, None]))

        # The rest by falling attention; tokens are named by their place in this first list from here on.
        order = (
            torch.nan_to_num(score.float()).masked_fill(~rest, -torch.inf).argsort(dim=1, descending=True, stable=True)
        )
        order = order[:, : int(left.max())]
        similarity = self._similarity(tokens, order, left)
        sequence = torch.arange(order.shape[1], device=order.device).expand_as(order)
        step = (-(-tokens.count * ROUND // PUBLISHED)).clamp_min(ROUND)
        while bool((left > diverse).any()):
            leaving = torch.minimum(torch.minimum(step, left - diverse), left // 2).clamp_min(0)
            sequence = self._round(sequence[:, : int(left.max())], similarity, left, leaving)
            left = left - leaving

        row, at = (torch.arange(sequence.shape[1], device=order.device) < left[:, None]).nonzero(as_tuple=True)
        chosen = torch.zeros_like(valid)
        chosen[row, order[row, sequence[row, at]]] = True
        return Reduction.select(important | chosen)

    @staticmethod
    def _similarity(tokens: Tokens, order: Tensor, count: Tensor) -> Tensor:
        """Cosine of the first ``count`` tokens of a list (B, W) with one another, (B, W, W)."""
        listed = torch.arange(order.shape[1], device=order.device) < count[:, None]
        features = tokens.features.gather(1, order[..., None].expand(-1, -1, tokens.features.shape[2]))
        scaled = unit(features, listed)
        return torch.bmm(scaled, scaled.mT)

    @staticmethod
    def _round(sequence: Tensor, similarity: Tensor, left: Tensor, leaving: Tensor) -> Tensor:
        """The list (B, W) of the first ``left`` tokens without the ``leaving`` ones most like an odd-placed one."""
        place = torch.arange(sequence.shape[1], device=sequence.device)
        present = place < left[:, None]
        even, odd = sequence[:, 0::2], sequence[:, 1::2]
        rows = torch.arange(sequence.shape[0], device=sequence.device)[:, None, None]
        pairs = similarity[rows, even[:, :, None], odd[:, None, :]].masked_fill(~present[:, None, 1::2], -torch.inf)
        # A token without any match ranks above those that are not there at all.
        best = pairs.amax(2).clamp_min(-2.0).masked_fill(~present[:, 0::2], -torch.inf)
        by_match = best.argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(by_match).scatter_(1, by_match, place[: even.shape[1]].expand_as(by_match))
        staying = ((left + 1) // 2 - leaving)[:, None]
        to = torch.empty_like(sequence)
        to[:, 0::2] = rank - leaving[:, None]
        to[:, 1::2] = staying + place[: odd.shape[1]]
        to = torch.where(present & (to >= 0), to, sequence.shape[1])
        room = torch.zeros(sequence.shape[0], sequence.shape[1] + 1, dtype=torch.long, device=sequence.device)
        return room.scatter_(1, to, sequence)[:, :-1]

    def flops(self, work: Work) -> int:
        important = int(work.m * self.params.important_ratio + 1e-9)
        thinned = work.m > important and work.n > work.m
        return 2 * (work.n - important) ** 2 * work.d if thinned else 0
