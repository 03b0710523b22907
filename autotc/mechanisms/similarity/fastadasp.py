"""FastAdaSP: weighted merging of adjacent audio tokens in the decoder (2410.03007; official `merge_hidden_states`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.grouping import neighbour_runs
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class FastAdaSP(Mechanism):
    """Neighbours whose keys are most alike become one token, averaged by the attention each receives.

    As in the official code, all chosen pairs are joined at once, a run of them becomes one token at the place of its
    first, and the weight is the attention received alone, whatever the tokens stand for. Unlike it, attention comes
    from the tokens of the item, where the code sums over every query of the prompt; keys are averaged over heads before
    rotation, where it joins the rotated heads; and merging happens before a layer with the scores of the one
    before, where the code merges between attention and MLP of one layer. Ratios over layers (constant, decaying, one
    layer) are the policy's.
    """

    name = "fastadasp"
    family = "similarity"
    modalities = ("audio",)
    locations = ("decoder",)
    needs = ("keys", "received_attention")
    criterion = "similarity merge"
    source = "FastAdaSP, arXiv 2410.03007; `merge_hidden_states` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        head = neighbour_runs(scores["keys"], budget, tokens.valid)
        place = torch.arange(head.shape[1], device=head.device)
        weight = torch.nan_to_num(scores["received_attention"].float()).clamp_min(1e-12)
        return Reduction.merge(head == place, head, weight)

    def flops(self, work: Work) -> int:
        return 2 * (work.n - 1) * work.k
