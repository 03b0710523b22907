"""PixelPrune: patches that their neighbours predict leave the tower first (2604.00886; official `Pred2DSelector`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class PixelPruneParams(AdaptiveParams):
    """Parameters of `PixelPrune`.

    ``threshold``, read where ``adaptive``: the largest difference of a value that still counts as equal; published: 0.
    """

    threshold: float = Field(0.0, ge=0)


class PixelPrune(Mechanism):
    """Tokens that differ most from what the neighbours before them predict, as in the coding of pictures without loss.

    A token is predicted by the one on its left, or by the one above where the token above the left one is more like the
    left one than like the one above: an upright edge lies between. The first row is predicted from the left, the first
    column from above; the first token stays. The error is the largest difference of a value. In the published form,
    ``adaptive``, tokens go whose error is at most a threshold, and edges are found by the same threshold; at 0 these
    are duplicates, and what is left tells all. Above 0 the official code compares with what it has reconstructed, token
    after token; here each is compared with its neighbours, the code's form without anchors.

    The code drops patches by their pixels, before the first block. No stage stands there: this one compares patch
    embeddings and acts behind the first block at the earliest, which has seen the duplicates. Equal patches have equal
    embeddings where a tower adds no positions before its first block (Qwen2.5-VL); elsewhere the added positions
    separate them by about as much anywhere, so that a given count is still spent where the content changes, but a
    threshold of 0 finds nothing. Videos are handled frame by frame.
    """

    name = "pixelprune"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("encoder",)
    needs = ("patch_embeddings",)
    criterion = "local similarity"
    source = "PixelPrune, arXiv 2604.00886; `Pred2DSelector` of the official code"
    Params = PixelPruneParams
    params: PixelPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, threshold = tokens.valid, self.params.threshold
        values = scores["patch_embeddings"].float().masked_fill(~valid[..., None], 0.0)
        left, above, corner = self._neighbours(tokens)

        def apart(other: Tensor) -> Tensor:
            near = values.gather(1, other.clamp_min(0)[..., None].expand_as(values))
            return (values - near).abs().amax(2).masked_fill(other < 0, torch.inf)

        across, down = apart(left), apart(above)
        # Of the token above the left one to the left one, and to the one above.
        to_left, to_above = down.gather(1, left.clamp_min(0)), across.gather(1, above.clamp_min(0))
        edge = to_left < to_above
        if self.adaptive:
            edge = (to_left <= threshold) & (to_above > threshold)
        error = torch.where((left < 0) | (edge & (above >= 0) & (corner >= 0)), down, across)
        if self.adaptive:
            budget = torch.minimum(budget, ((error > threshold) & valid).sum(1))
        return Reduction.select(top_mask(error, budget, valid))

    @staticmethod
    def _neighbours(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N) long each: the tokens on the left, above, and above the left; -1 where there is none."""
        valid = tokens.valid
        t, y, x = tokens.grid.masked_fill(~valid[..., None], 0).unbind(2)
        # A margin above and on the left takes what lies outside.
        room = [int(part.max()) + more for part, more in ((t, 1), (y, 2), (x, 2))] if valid.numel() else [1, 1, 1]
        canvas = torch.full((valid.shape[0], *room), -1, dtype=torch.long, device=valid.device)
        row, at = valid.nonzero(as_tuple=True)
        canvas[row, t[row, at], y[row, at] + 1, x[row, at] + 1] = at
        rows = torch.arange(valid.shape[0], device=valid.device)[:, None]
        left, above, corner = (canvas[rows, t, y + 1 + dy, x + 1 + dx] for dy, dx in ((0, -1), (-1, 0), (-1, -1)))
        return left, above, corner
