"""OmniZip for audio: salient tokens and anchors for the rest (2511.14582; official `omnizip_audio_attn`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import fill_anchors
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class OmniZipAudioParams(Params):
    """Parameters of `OmniZipAudio`.

    ``contextual_ratio``: anchors, as a share of the tokens given; published: 0.05.
    ``group``: tokens that each anchor takes in at most; published: 3.
    """

    contextual_ratio: float = Field(0.05, ge=0, le=1)
    group: int = Field(3, ge=0)


class OmniZipAudio(Mechanism):
    """Top of received attention as it is; of the rest, evenly spaced anchors take in the few most like them.

    As in the official code, an anchor becomes the mean of itself and of the average, weighted by a softmax, of the
    tokens it takes; what no anchor takes is dropped. Weights and choice rest on the cosine to the anchor, which the
    code uses where there is no video; with video it takes the greatest cosine to any video token, which a mechanism for
    one modality does not see. Attention is that of the tower's next-to-last block, where the code reads the last.
    """

    name = "omnizip_audio"
    family = "attention"
    modalities = ("audio",)
    locations = ("projector",)
    needs = ("received_attention",)
    criterion = "received_attention"
    source = "OmniZip, arXiv 2511.14582; `omnizip_audio_attn` of the official code"
    Params = OmniZipAudioParams
    params: OmniZipAudioParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        anchors_wanted = (tokens.count.double() * self.params.contextual_ratio + 0.5).long()
        anchors_wanted = torch.minimum(anchors_wanted, budget - 1)
        salient = top_mask(scores["received_attention"], budget - anchors_wanted, valid)
        return fill_anchors(tokens.features, salient, anchors_wanted, self.params.group, valid)

    def flops(self, work: Work) -> int:
        anchors = min(int(work.n * self.params.contextual_ratio + 0.5), work.m - 1)
        return 2 * work.n * anchors * work.d
