"""OmniScope for audio: seconds that the query is about keep more (2607.23193; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate, share_between
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.matching import merge_within
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, unit
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.windows import windows

_QUANTILE, _BOOST, _NEAR = 0.8, 1.2, (1.25, 1.125, 1.0625)
"""Windows above the quantile are raised, and so are those one, two and three windows from them."""


class OmniScopeAudioParams(Params):
    """Parameters of `OmniScopeAudio`, with the official code's values.

    ``seconds``: length of a window. ``temperature``: of the softmax over the query's tokens.
    ``best``: tokens of a window that speak for it. ``power``: of a window's score.
    ``least``: share of a window that stays; 10 of 25 tokens.
    """

    seconds: float = Field(1.0, gt=0)
    temperature: float = Field(0.05, gt=0)
    best: int = Field(5, ge=1)
    power: float = Field(2.0, gt=0)
    least: float = Field(0.4, ge=0, le=1)


class OmniScopeAudio(Mechanism):
    """Windows share the budget by their relevance to the query; each merges its tokens in rounds of matching.

    A token's relevance is the mean of its cosines to the query's tokens, weighted by the softmax of the cosine times
    the text token's norm, relative to the largest; a window's is the mean of its best tokens, squared. As in the
    official code, the windows of highest score are raised, those next to them too, and shares are in proportion,
    between ``least`` and the whole window. Unlike it, the last, incomplete second is treated like the others, averages
    are by mass where the code averages each round's groups as equals, and a round may merge half of the tokens where
    the code merges one fewer. Below one token for each window, which the published rule never reaches, windows are
    matched together.
    """

    name = "omniscope_audio"
    family = "query"
    modalities = ("audio",)
    locations = ("projector",)
    needs = ("text_features",)
    criterion = "text_similarity"
    source = "OmniScope, arXiv 2607.23193; `compute_audio_semantic_scores_batch` and `compress_audio_features`"
    Params = OmniScopeAudioParams
    params: OmniScopeAudioParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        window = windows(tokens, params.seconds)
        number = int(window.max()) + 1
        few = (count_groups(window, valid, number) > 0).sum(1) > budget
        window = window.masked_fill(few[:, None], 0)
        size = count_groups(window, valid, number)

        relevance = self._relevance(tokens, scores["text_features"].float())
        best = valid & (rank_in_group(relevance, window, valid) < params.best)
        total = torch.zeros(size.shape, dtype=torch.double, device=valid.device)
        total.scatter_add_(1, window, relevance.double().masked_fill(~best, 0.0))
        score = (total / count_groups(window, best, number).clamp_min(1)).clamp_min(0.0) ** params.power
        share = share_between(budget, score * _boost(score, size > 0), (size * params.least).ceil(), size)
        quota = allocate(budget, share, size)
        empty = ((quota == 0) & (size > 0)).any(1, keepdim=True)
        return merge_within(tokens, window, torch.where(empty, allocate(budget, share, size, least=1), quota))

    def _relevance(self, tokens: Tokens, words: Tensor) -> Tensor:
        """(B, N) float."""
        norm = words.norm(dim=2)
        spoken = norm > 0
        gate = norm / norm.amax(1, keepdim=True).clamp_min(1e-6)
        cosine = torch.bmm(tokens.unit_features(), unit(words, spoken).mT)
        scaled = (cosine * gate[:, None] / self.params.temperature).masked_fill(~spoken[:, None], -1e9)
        out: Tensor = (scaled.softmax(2) * cosine).sum(2)
        return out

    def flops(self, work: Work) -> int:
        # A round of matching takes a quarter of the windows' squares, which are far below the item's.
        return 2 * work.n * (work.n + work.query) * work.d


def _boost(score: Tensor, present: Tensor) -> Tensor:
    """What windows' scores (B, G) are multiplied by, as they are among the highest or near one that is."""
    last = (present.sum(1, keepdim=True) - 1).clamp_min(0)
    place = _QUANTILE * last.double()
    below = (place + 1e-9).floor().long()
    ascending = score.masked_fill(~present, torch.inf).sort(1).values
    low, high = ascending.gather(1, below), ascending.gather(1, torch.minimum(below + 1, last))
    quantile = low + (place - below).clamp_min(0.0) * (high - low)
    raised = present & (score >= quantile) & (last > 0)
    out = torch.where(raised, _BOOST, 1.0).double()
    for distance, factor in enumerate(_NEAR, start=1):
        near = torch.zeros_like(raised)
        near[:, distance:] |= raised[:, :-distance]
        near[:, :-distance] |= raised[:, distance:]
        out = torch.where(near, out.clamp_min(factor), out)
    return out
