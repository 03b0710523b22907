"""DART: the tokens least like a few pivots (2502.11494, section 3.3; official `get_retained_image_token`)."""

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


class DartParams(Params):
    """Parameters of `Dart`: pivots taken from the item and from the query span; the defaults are published."""

    item_pivots: int = Field(4, ge=1, le=64)
    text_pivots: int = Field(4, ge=0, le=64)


class Dart(Mechanism):
    """Pivots by key L1 norm, from the item and the text; each pivot in turn keeps the tokens least similar to it.

    The item's pivots survive themselves. What the budget leaves is split evenly over all pivots, earlier pivots taking
    the remainder; a token taken by one pivot is no longer there for the next. The code gives every pivot budget //
    pivots tokens and so keeps a few more or fewer than asked. It also visits pivots in no defined order: here the
    item's come first, then the text's, each by falling norm. Its text is all that follows the image, its norms are of
    whole rotated keys and its cosines of features after the final norm layer; here these are the query span, the mean
    key over heads before rotation, and the features as they stand.
    """

    name = "dart"
    family = "similarity"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("keys", "text_keys", "text_features")
    criterion = "dissimilarity to pivots"
    source = "DART, arXiv 2502.11494, section 3.3; `get_retained_image_token` of the official code"
    Params = DartParams
    params: DartParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        text, text_norm = scores["text_features"].float(), scores["text_keys"].float().abs().sum(2)
        norm = scores["keys"].float().abs().sum(2)
        return Reduction.select(least_like_pivots(tokens, norm, text, text_norm, budget, self.params))

    def flops(self, work: Work) -> int:
        pivots = min(self.params.item_pivots, work.n) + min(self.params.text_pivots, work.query)
        return 2 * pivots * work.n * work.d


def least_like_pivots(
    tokens: Tokens, norm: Tensor, text: Tensor, text_norm: Tensor, budget: Tensor, params: DartParams
) -> Tensor:
    """Mask (B, N) of the pivots of the item and of the tokens least like the pivots of item and text.

    Args:
        tokens: of the items.
        norm: (B, N) float, by which the item's pivots are chosen.
        text: (B, T, D) float, zeros on padding.
        text_norm: (B, T) float, by which the text's pivots are chosen; 0 on padding.
        budget: (B,) long.
        params: how many pivots there are.
    """
    valid = tokens.valid
    norm = torch.nan_to_num(norm).masked_fill(~valid, -1.0)
    item_pivots = norm.argsort(dim=1, descending=True, stable=True)[:, : params.item_pivots]
    other = text_norm.argsort(dim=1, descending=True, stable=True)[:, : params.text_pivots]

    # How many tokens each pivot keeps; none for those that a row does not have.
    item_pivot_count = torch.minimum(budget, tokens.count).clamp_max(item_pivots.shape[1])[:, None]
    present = torch.cat(
        [
            torch.arange(item_pivots.shape[1], device=item_pivots.device) < item_pivot_count,
            text_norm.gather(1, other) > 0,
        ],
        1,
    )
    pivots, left = present.sum(1, keepdim=True), budget[:, None] - item_pivot_count
    turn = present.long().cumsum(1) - 1
    quota = (left // pivots + (turn < left % pivots).long()) * present

    scaled = tokens.unit_features()
    wide = (-1, -1, scaled.shape[2])
    pivot = torch.cat(
        [
            scaled.gather(1, item_pivots[..., None].expand(wide)),
            unit(text, text_norm > 0).gather(1, other[..., None].expand(wide)),
        ],
        1,
    )
    similarity = torch.bmm(pivot, scaled.mT)
    chosen = torch.zeros_like(valid).scatter(1, item_pivots, present[:, : item_pivots.shape[1]]) & valid
    for i in range(pivot.shape[1]):
        chosen = chosen | top_mask(-similarity[:, i], quota[:, i], valid & ~chosen)
    return chosen
