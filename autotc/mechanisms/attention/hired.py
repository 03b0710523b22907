"""HiRED: attention of the whole image shares the budget out over its crops (2408.10945; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, top_per_group
from autotc.mechanisms.tokens import Tokens


class HiRedParams(Params):
    """Parameters of `HiRed`.

    ``crops``: the grid is cut into crops x crops; published: 2, of a square image.
    ``whole_share``: of the budget, spent on the item as a whole; published: alpha = 0.5. One minus it is the share of
    tokens whose number in each crop sets that crop's part of the rest.
    """

    crops: int = Field(2, ge=1, le=16)
    whole_share: float = Field(0.5, ge=0, le=1)


class HiRed(Mechanism):
    """Part of the budget goes to the most attended tokens, the rest to crops by how many attended tokens they hold.

    The published model sees a thumbnail and crops of it at full resolution: the thumbnail takes its share, and the most
    attended tokens of the thumbnail, counted by crop, share the rest out. Here the item is both, and crops choose among
    the tokens that the whole has left. Unlike the official code (`HiRED_token_selection`), crops are counted where they
    lie (the code counts runs of rows), both steps read the attention of the next-to-last block (the code counts by the
    first block's, as the first shows where content is), and largest remainders and full crops leave nothing unspent.
    Crops of a video are crops of its frames. For models without crops (LLaVA-1.5) the code is plain top-k of the class
    token's attention, which ``crops: 1`` gives.
    """

    name = "hired"
    family = "attention"
    modalities = ("image", "video")
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention"
    source = "HiRED, arXiv 2408.10945; `HiRED_token_selection` of the official code"
    Params = HiRedParams
    params: HiRedParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, score, crops = tokens.valid, scores["cls_attention"], self.params.crops
        whole_count = (budget.double() * self.params.whole_share + 1e-9).long()
        whole = top_mask(score, whole_count, valid)
        rest = valid & ~whole

        size = (tokens.grid + 1).masked_fill(~valid[..., None], 1).amax(1, keepdim=True)
        y, x = (tokens.grid * crops // size)[..., 1:].unbind(2)
        crop = ((tokens.grid[..., 0] * crops + y) * crops + x).masked_fill(~valid, 0)
        groups = int(size[..., 0].max()) * crops**2
        attended_count = (tokens.count.double() * (1.0 - self.params.whole_share) + 1e-9).long()
        attended = count_groups(crop, top_mask(score, attended_count, valid), groups)
        count = allocate(budget - whole_count, attended.double(), count_groups(crop, rest, groups))
        return Reduction.select(whole | top_per_group(score, crop, count, rest))
