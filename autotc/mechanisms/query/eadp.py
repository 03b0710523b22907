"""EADP: coverage weighed by relevance to the words that say where to look (2607.02484; official `pruner.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.apart import frame_rows, smooth
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.coverage import cosine_table, greedy_coverage
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

SHARPNESS = 100.0
"""What cosines are multiplied by before the softmax over the tokens, of which a word's entropy is taken."""
TEMPERATURE = 0.01
"""What entropies are divided by before the softmax over the words that are left."""


class EadpParams(Params):
    """Parameters of `Eadp`, with the official code's values for Qwen2.5-VL.

    Attributes:
        alpha: weight of the mean of all words beside the words that are left.
        beta: power of the relevance; 1 for LLaVA.
        word_share: share of the words that is left, those of least entropy.
        negated: whether tokens far from the words count as relevant, those of low cosine.
    """

    alpha: float = Field(0.5, ge=0, le=1)
    beta: float = Field(2.0, ge=0)
    word_share: float = Field(0.2, gt=0, le=1)
    negated: bool = True


class Eadp(Mechanism):
    """Add, one by one, the token that most raises the coverage of the others, each weighed by its relevance.

    A token is covered by (1 + cosine) / 2 to the nearest chosen one. Words whose softmax over the tokens has the
    highest entropy are left out; relevance mixes the cosine to the mean of all words with cosines to those left,
    weighed by a softmax of their entropies, is scaled to [0, 1] and smoothed over the 3 x 3 neighbours, reflected at
    the border. As in the official code for Qwen2.5-VL, words are the language model's input embeddings and the signs
    of all cosines to words are turned. The frames of a video are compressed apart, for which the code has CLIP's text
    encoder and weighs words token by token. Tokens that stand for several count as often.
    """

    name = "eadp"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_features",)
    criterion = "coverage of what is relevant"
    source = "EADP, arXiv 2607.02484; `VisualTokenPruner` of `Qwen_vl/model/pruner.py` of the official code"
    Params = EadpParams
    params: EadpParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, scaled = tokens.valid, tokens.unit_features()
        words = scores["text_features"].float()
        spoken = words.abs().sum(2) > 0
        texts = torch.nn.functional.normalize(torch.cat([words, words.sum(1, keepdim=True)], 1), dim=-1, eps=1e-8)
        cosine = torch.bmm(scaled, texts.mT)

        place, count = frame_rows(tokens, budget)
        present, at = place >= 0, place.clamp_min(0)
        spoken = spoken.repeat_interleave(len(place) // len(valid), 0)
        relevance = self._relevance(cosine.flatten(0, 1)[at], spoken, present)
        weight = smooth(relevance, tokens.grid[..., 1:].flatten(0, 1)[at], present) ** self.params.beta
        weight = weight * tokens.mass.float().flatten()[at]
        unit = scaled.flatten(0, 1)[at].masked_fill(~present[..., None], 0.0)
        value = cosine_table(unit, -1.0).clamp_max(1.0).add(1.0).div(2.0)
        best = greedy_coverage(value, weight.masked_fill(~present, 0.0), None, count, present)
        chosen = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
        chosen[place[best]] = True
        return Reduction.select(chosen.view(valid.shape))

    def _relevance(self, cosine: Tensor, spoken: Tensor, present: Tensor) -> Tensor:
        """(R, P) in [0, 1] from cosines (R, P, T + 1) to words and to their mean; 1 where all are equal."""
        near = -cosine if self.params.negated else cosine
        whole, near = near[..., -1], near[..., :-1]
        # In double precision, which tells words apart whose softmax is nearly all at one token.
        share = (near.double() * SHARPNESS).masked_fill(~present[..., None], -torch.inf).softmax(1)
        share = torch.nan_to_num(share)  # rows without tokens
        entropy = -(share * (share + 1e-12).log()).sum(1)
        most = (spoken.sum(1) * self.params.word_share + 1e-9).long().clamp_min(1)
        left = top_mask(-entropy, most, spoken)
        word = torch.nan_to_num((-entropy / TEMPERATURE).masked_fill(~left, -torch.inf).softmax(1)).float()
        mixed = self.params.alpha * whole + (1 - self.params.alpha) * (near * word[:, None]).sum(2)
        low = mixed.masked_fill(~present, torch.inf).amin(1, keepdim=True)
        high = mixed.masked_fill(~present, -torch.inf).amax(1, keepdim=True)
        return ((mixed - low + 1e-6) / (high - low + 1e-6)).masked_fill(~present, 0.0)

    def flops(self, work: Work) -> int:
        frames = work.frames if 1 < work.frames < work.n else 1
        size = -(-work.n // frames)
        return 2 * work.d * (work.n * (work.query + 1) + frames * size * size)
