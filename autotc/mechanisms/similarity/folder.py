"""FOLDER: matching and merging, repeated in one of the last blocks (2501.02430, section 3; official `merge.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.matching import merge_rounds
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.similarity.tome import ToMe
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class FolderParams(Params):
    """Parameters of `Folder`: ``alpha`` weighs attention against similarity; the default is the official code's."""

    alpha: float = Field(5.0, ge=0)


class Folder(Mechanism):
    """ToMe's bipartite matching in rounds, in which attended tokens are reluctant to merge.

    A round lets the even tokens of highest cosine to an odd one, less ``alpha`` times attention, flow into it, averaged
    by mass; rounds follow each other until the budget is met. The attention term, which the code takes over from its
    predecessor Turbo, weighs the class token's attention, shared by 577 tokens, by 100 ``alpha``; here it is the mean
    attention received, relative to its mean over the item, so that the weight means the same at every token count.
    ``alpha`` 0 matches by similarity alone, as the code's form for other towers does. A merged token's attention
    is the plain mean of those that met in the round. Survivors stay in the order of their positions, as in that form.
    Merging happens after a block, where the code merges between attention and MLP.

    Unlike the code, features are not multiplied by 1 + log(size), as that form for other towers (`merge_features`) does
    with what it has merged, and a class token is not counted when evens and odds are split (see `ToMe`).
    """

    name = "folder"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder",)
    needs = ("keys", "received_attention")
    criterion = "similarity merge"
    source = "FOLDER, arXiv 2501.02430, section 3; `bipartite_unimodal_matching` of the official code"
    Params = FolderParams
    params: FolderParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        attention = scores["received_attention"].float().masked_fill(~valid, 0.0)
        mean = attention.sum(1, keepdim=True) / tokens.count[:, None].clamp_min(1)
        reluctance = 100.0 * self.params.alpha / 577.0 * attention / mean.clamp_min(1e-12)
        keys = scores["keys"].float().masked_fill(~valid[..., None], 0.0)
        root = merge_rounds(keys * tokens.mass.float()[..., None], valid, budget, reluctance)
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        return ToMe().flops(work)
