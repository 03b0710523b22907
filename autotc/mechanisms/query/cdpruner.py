"""CDPruner: a determinantal point process conditioned on the instruction (2506.10967; official `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import greedy_map
from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import CountedParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class CDPrunerParams(CountedParams):
    """Parameters of `CDPruner`; ``relevance_weight``: 1 is the published kernel, 0 cosine alone, as OpenVINO mixes."""

    relevance_weight: float = Field(1.0, ge=0, le=1)


class CDPruner(Mechanism):
    """Greedy MAP of a DPP whose kernel is feature cosine scaled by each token's relevance to the query on both sides.

    Relevance is min-max scaled over the row with the official code's 1e-6 in the numerator (the code scales over the
    batch, and negates its encoder's cosine; here the score already rises with relevance). Once the remaining tokens lie
    in the span of the chosen ones, gains are rounding noise and relevance alone decides, a case the code leaves open.
    Relevance is the cosine to the mean query embedding in the language model's space, where the code averages cosines
    to the outputs of a contrastive text encoder. With ``counting: engine`` the count is OpenVINO GenAI's: the rate as
    whole percents, rounded half up in binary.
    """

    name = "cdpruner"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_similarity",)
    criterion = "query-conditioned diversity"
    source = "CDPruner, arXiv 2506.10967; `encode_images` of the official code; greedy MAP of DPPs, arXiv 1709.05135"
    Params = CDPrunerParams
    params: CDPrunerParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        unit, valid = tokens.unit_features(), tokens.valid
        relevance = self._relevance(scores["text_similarity"], valid)
        cosine, share = torch.bmm(unit, unit.mT), self.params.relevance_weight
        kernel = relevance[:, :, None] * cosine * relevance[:, None, :]
        if share < 1:
            # openvinotoolkit/openvino.genai, `visual_language/cdpruner/conditional_kernel.cpp`
            kernel = share * kernel + (1 - share) * cosine
        return Reduction.select(greedy_map(kernel, relevance, budget, valid))

    @staticmethod
    def _relevance(score: Tensor, valid: Tensor) -> Tensor:
        """Min-max scaled over the valid tokens of each row, in (0, 2]; 1 where all are equal."""
        score = torch.nan_to_num(score.float())
        low = score.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
        high = score.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
        scaled = (score - low + 1e-6) / (high - low).clamp_min(1e-6)
        return scaled.masked_fill(~valid, 0.0)

    def flops(self, work: Work) -> int:
        n, m = work.n, work.m
        return 2 * n * n * work.d + n * max(0, m - 1) * max(0, m - 2)

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        if self.params.counting == "policy":
            return super().target(keep_ratio, n0, left, grid)
        # openvinotoolkit/openvino.genai, `visual_language/cdpruner/cdpruner.cpp`
        percent = round((1.0 - keep_ratio) * 100)
        return max(1, min(left, int(n0 * (1.0 - percent / 100.0) + 0.5)))
