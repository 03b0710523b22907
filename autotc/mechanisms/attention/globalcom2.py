"""GlobalCom2: a thumbnail tells how much of each crop stays, and helps to choose what (2501.05179; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class GlobalCom2Params(Params):
    """Parameters of `GlobalCom2`.

    Attributes:
        crops: an image of one view is cut into crops x crops; one of several views into as many as it has tiles.
        temperature: what the crops' shares of attention are divided by before the softmax; published: 10.
    """

    crops: int = Field(2, ge=1, le=16)
    temperature: float = Field(10.0, gt=0)


class GlobalCom2(Mechanism):
    """Crops share the budget by the thumbnail's attention; in a crop its own attention and the thumbnail's add up.

    The thumbnail is the image's first view, its crops are the tiles that cover the others; an image of one view is
    both. A crop keeps the share R (1 + s - mean s) of its tokens, where s is the softmax over the crops of the class
    token's attention in the thumbnail, summed where the crop lies, and the thumbnail the share R; R follows from the
    budget. A crop's tokens are ranked by the sum of two parts, each of norm 1 in the crop: the class token's attention
    in the crop, and that in the thumbnail, brought to the crop's resolution (bilinear). Unlike the official code, crops
    are near-equal parts of the grid without padding, the thumbnail's attention sums to 1 without the class token's own,
    counts are rounded by largest remainders, and attention is that of the next-to-last block, where the code reads the
    last one.
    """

    name = "globalcom2"
    family = "attention"
    modalities = ("image",)
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention by crop"
    source = "GlobalCom2, arXiv 2501.05179; `compress_thumbnail`, `compress_crops` of the official code"
    Params = GlobalCom2Params
    params: GlobalCom2Params

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        attention = scores["cls_attention"].float().masked_fill(~valid, 0.0)
        place = tokens.grid.masked_fill(~valid[..., None], 0)
        several = (place[..., 0] > 0).any(1, keepdim=True)
        first = valid & (place[..., 0] == 0)
        rest = torch.where(several, valid & ~first, valid)
        whole, part = (self._size(place, members) for members in (first, rest))
        tiles = torch.where(several[..., None], -(-part // whole), self.params.crops)

        def crop(size: Tensor) -> Tensor:
            at = (place[..., 1:] * tiles // size).minimum(tiles - 1)
            return at[..., 0] * tiles[..., 1] + at[..., 1]

        crops = int(tiles.prod(2).max())
        exists = torch.arange(crops, device=valid.device) < tiles.prod(2)
        canvas = self._canvas(attention, place, first)
        looked = torch.zeros(len(valid), crops, device=valid.device)
        looked.scatter_add_(1, crop(whole).masked_fill(~first, 0), attention * first)
        looked = looked / looked.sum(1, keepdim=True).clamp_min(1e-12) / self.params.temperature
        share = looked.masked_fill(~exists, -torch.inf).softmax(1)
        share = torch.cat([torch.ones_like(share[:, :1]), 1.0 + share - 1.0 / exists.sum(1, keepdim=True)], 1)

        # Group 0 is the thumbnail of several views.
        group = torch.where(rest, crop(part) + 1, 0).masked_fill(~valid, 0)
        size = count_groups(group, valid, crops + 1)
        seen = self._brought(canvas, place, whole, part)
        score = torch.where(
            rest, self._scaled(attention, group, rest, crops) + self._scaled(seen, group, rest, crops), attention
        )
        count = allocate(budget, size * share, size)
        return Reduction.select(top_per_group(score, group, count, valid))

    @staticmethod
    def _size(place: Tensor, members: Tensor) -> Tensor:
        """(B, 1, 2) rows and columns of the members' grid."""
        return (place[..., 1:] + 1).masked_fill(~members[..., None], 1).amax(1, keepdim=True)

    @staticmethod
    def _scaled(score: Tensor, group: Tensor, members: Tensor, crops: int) -> Tensor:
        """Scores at norm 1 in each crop."""
        square = torch.zeros(len(group), crops + 1, device=group.device)
        square.scatter_add_(1, group, score.square() * members)
        return score / square.sqrt().gather(1, group).clamp_min(1e-12)

    @staticmethod
    def _canvas(attention: Tensor, place: Tensor, first: Tensor) -> Tensor:
        """(B, Y, X): the thumbnail's attention where it stands; 0 where nothing is left of it."""
        rows, columns = (int(side.max()) + 1 for side in place[..., 1:].unbind(2))
        canvas = torch.zeros(len(place), rows, columns, device=place.device)
        row, token = first.nonzero(as_tuple=True)
        canvas[row, place[row, token, 1], place[row, token, 2]] = attention[row, token]
        return canvas

    @staticmethod
    def _brought(canvas: Tensor, place: Tensor, whole: Tensor, part: Tensor) -> Tensor:
        """(B, N): the thumbnail at each token's place in the other views, bilinear between its centres."""
        at = (place[..., 1:] + 0.5) * whole / part - 0.5
        at = torch.minimum(at.clamp_min(0.0), whole - 1.0)
        low = at.floor().long()
        high = torch.minimum(low + 1, whole - 1)
        (down, right), batch = (at - low).unbind(2), torch.arange(len(place), device=place.device)[:, None]
        upper, lower = (
            canvas[batch, y, low[..., 1]] * (1 - right) + canvas[batch, y, high[..., 1]] * right
            for y in (low[..., 0], high[..., 0])
        )
        return upper * (1 - down) + lower * down
