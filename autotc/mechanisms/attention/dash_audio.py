"""DASH for audio: breaks, distinct and attended tokens, and anchors (2603.15685; official `dash_audio_attn`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.closeness import closeness, steady_half
from autotc.mechanisms.clustering import fill_anchors
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import group_mean, neighbour_cosine
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens

_FEW_CHANNELS = 10
"""Features of so few channels are compared whole."""


class DashAudioParams(Params):
    """Parameters of `DashAudio`, with the official code's values.

    ``breaks``, ``distinct``, ``attended``: weights of the three signals.
    ``contextual_ratio``: anchors, as a share of the tokens given. ``group``: tokens that each anchor takes in at most.
    """

    breaks: float = Field(0.4, ge=0)
    distinct: float = Field(0.3, ge=0)
    attended: float = Field(0.3, ge=0)
    contextual_ratio: float = Field(0.05, ge=0, le=1)
    group: int = Field(3, ge=0)


class DashAudio(Mechanism):
    """Top of three signals; of the rest, evenly spaced anchors take in the few most like them.

    The signals are the change from the token before, (1 - cosine) / 2 and 1 for the first token; how far a token is
    from the clip's centre by VidCom2's Gaussians; and the attention it receives, relative to the largest. Anchors are
    OmniZip's, as in the official code; like `OmniZipAudio`, they weigh tokens by the cosine to the anchor, where the
    code takes the greatest cosine to any video token. Attention is that of the tower's next-to-last block, where the
    code reads the last.
    """

    name = "dash_audio"
    family = "attention"
    modalities = ("audio",)
    locations = ("projector",)
    needs = ("received_attention",)
    criterion = "received_attention with distinctness"
    source = "DASH, arXiv 2603.15685; `dash_audio_attn` of the official code"
    Params = DashAudioParams
    params: DashAudioParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        cosine = neighbour_cosine(tokens.features, valid)
        change = torch.where(cosine > -torch.inf, ((1.0 - cosine) / 2.0).clamp(0.0, 1.0), 1.0)
        attention = torch.nan_to_num(scores["received_attention"].float()).masked_fill(~valid, 0.0)
        attention = attention / (attention.amax(1, keepdim=True) + 1e-6)
        score = params.breaks * change + params.distinct * self._distinct(tokens) + params.attended * attention

        anchors = (tokens.count.double() * params.contextual_ratio + 0.5).long()
        anchors = torch.minimum(anchors, budget - 1)
        kept = top_mask(score, budget - anchors, valid)
        return fill_anchors(tokens.features, kept, anchors, params.group, valid)

    @staticmethod
    def _distinct(tokens: Tokens) -> Tensor:
        """1 - closeness to the centre of the tokens, relative to the closest; (B, N)."""
        features, valid = tokens.features.float(), tokens.valid
        if features.shape[2] > _FEW_CHANNELS:
            features = steady_half(features, valid)
        values = unit(features, valid)
        centre = group_mean(values, torch.zeros_like(valid, dtype=torch.long), valid.float(), 1)
        near = closeness(values, centre).masked_fill(~valid, 0.0)
        return 1.0 - near / near.amax(1, keepdim=True).clamp_min(1e-12)

    def flops(self, work: Work) -> int:
        anchors = min(int(work.n * self.params.contextual_ratio + 0.5), work.m - 1)
        return 2 * work.n * anchors * work.d + 2 * (work.n - 1) * work.d
