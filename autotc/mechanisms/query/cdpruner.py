"""CDPruner: a determinantal point process conditioned on the instruction (2506.10967; official `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import greedy_map
from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import CountedParams, Mechanism, Work
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import count_groups, group_rows
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
    to the outputs of a contrastive text encoder. With ``counting: engine`` counts and regions are OpenVINO GenAI's: the
    rate as whole percents, rounded half up in binary, and each frame of a video by itself.
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
        unit, valid, score = tokens.unit_features(), tokens.valid, scores["text_similarity"]
        if self.params.counting == "policy":
            return Reduction.select(self._chosen(unit, score, budget, valid))
        frame = present_frames(tokens)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        if size.shape[1] == 1 or int(size.max()) == 1:
            return Reduction.select(self._chosen(unit, score, budget, valid))
        place = group_rows(frame, valid, size.shape[1])
        present, at = place >= 0, place.clamp_min(0)
        count = allocate(budget, size.double(), size, least=1)  # equal frames keep equally many
        of_frame = self._chosen(unit.flatten(0, 1)[at], score.flatten()[at], count.flatten(), present)
        chosen = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
        chosen[place[of_frame]] = True
        return Reduction.select(chosen.view(valid.shape))

    def _chosen(self, unit: Tensor, score: Tensor, budget: Tensor, valid: Tensor) -> Tensor:
        """The choice of each row, (B, N) bool."""
        relevance = self._relevance(score, valid)
        cosine, share = torch.bmm(unit, unit.mT), self.params.relevance_weight
        kernel = relevance[:, :, None] * cosine * relevance[:, None, :]
        if share < 1:
            # openvinotoolkit/openvino.genai, `visual_language/cdpruner/conditional_kernel.cpp`
            kernel = share * kernel + (1 - share) * cosine
        return greedy_map(kernel, relevance, budget, valid)

    @staticmethod
    def _relevance(score: Tensor, valid: Tensor) -> Tensor:
        """Min-max scaled over the valid tokens of each row, in (0, 2]; 1 where all are equal."""
        score = torch.nan_to_num(score.float())
        low = score.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
        high = score.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
        scaled = (score - low + 1e-6) / (high - low).clamp_min(1e-6)
        return scaled.masked_fill(~valid, 0.0)

    def flops(self, work: Work) -> int:
        frames = work.frames if self.params.counting == "engine" and 1 < work.frames < work.n else 1
        n, m = -(-work.n // frames), -(-work.m // frames)
        return frames * (2 * n * n * work.d + n * max(0, m - 1) * max(0, m - 2))

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        if self.params.counting == "policy":
            return super().target(keep_ratio, n0, left, grid)
        # openvinotoolkit/openvino.genai, `visual_language/cdpruner/cdpruner.cpp`
        percent = round((1.0 - keep_ratio) * 100)
        frames, size = grid[0], grid[1] * grid[2]
        if size == 1:  # audio
            frames, size = 1, n0
        return max(1, min(left, frames * max(1, int(size * (1.0 - percent / 100.0) + 0.5))))
