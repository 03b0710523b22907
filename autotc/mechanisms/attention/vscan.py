"""VScan: attended tokens of the whole and of every window, the rest merged into them (2505.22654; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask
from autotc.mechanisms.tokens import Tokens


class VScanParams(Params):
    """Parameters of `VScan`.

    Attributes:
        local_share: of the survivors, rounded down, chosen window by window; published: 0.5.
        window: side of the square windows in tokens; published: 6 for LLaVA, 4 for Qwen2.5-VL.
    """

    local_share: float = Field(0.5, ge=0, le=1)
    window: int = Field(6, ge=1, le=64)


class VScan(Mechanism):
    """Windows give their most attended tokens of an earlier block, the whole those of a late one; the rest is merged.

    As in the official code for Qwen2.5-VL, no window gives more than its even share of the local tokens, rounded up,
    and what does not fill a window belongs to the last one beside it. The code for LLaVA, whose grid its windows
    divide, rounds the share down; where it divides as well, both choose alike. Should windows be too small for their
    share, the most attended other tokens follow. Every other token flows into the survivor of the highest cosine; the
    average is by mass, where the code counts each token once. The earlier block is the one in the middle (HiPrune's),
    where the code takes the sixth of 24 for LLaVA and the first with full attention for Qwen2.5-VL, and its attention
    is the mean received, where the code for LLaVA takes the class token's.
    """

    name = "vscan"
    family = "attention"
    modalities = ("image", "video")
    locations = ("projector",)
    needs = ("middle_attention", "cls_attention")
    criterion = "middle_attention by window, cls_attention"
    source = "VScan, arXiv 2505.22654, section 4.1; `encode_images` and `window_selection` of the official code"
    Params = VScanParams
    params: VScanParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        wanted = (budget.double() * self.params.local_share + 1e-9).long()
        local = self._local(tokens, scores["middle_attention"], wanted)
        kept = local | top_mask(scores["cls_attention"], budget - wanted, valid & ~local)
        into, _ = nearest(tokens.features, kept, valid)
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        target = torch.where(kept, place, into).masked_fill(~valid, -1)
        return Reduction.merge(kept, target, tokens.mass)

    def _local(self, tokens: Tokens, attention: Tensor, wanted: Tensor) -> Tensor:
        """Mask (B, N) of ``wanted`` (B,) tokens, the windows' most attended."""
        valid, side = tokens.valid, self.params.window
        size = (tokens.grid + 1).masked_fill(~valid[..., None], 1).amax(1, keepdim=True)
        across = (size[..., 1:] // side).clamp_min(1)
        y, x = torch.minimum(tokens.grid[..., 1:] // side, across - 1).unbind(2)
        window = ((tokens.grid[..., 0] * across[..., 0] + y) * across[..., 1] + x).masked_fill(~valid, 0)
        held = count_groups(window, valid, int(window.max()) + 1)
        windows = (held > 0).sum(1).clamp_min(1)
        share = -(-wanted // windows)
        first = valid & (rank_in_group(attention, window, valid) < share[:, None])
        given = torch.minimum(wanted, first.sum(1))
        chosen = top_mask(attention, given, first)
        return chosen | top_mask(attention, wanted - given, valid & ~chosen)

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.m * work.d
