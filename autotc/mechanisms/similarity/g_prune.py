"""G-Prune: information flow on the graph of similar tokens (2501.02268, section 3; official `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class GPruneParams(Params):
    """Parameters of `GPrune`; the defaults are the official code's.

    Attributes:
        threshold: cosine from which two tokens are connected.
        temperature: of the softmax over a token's connections.
        steps: how often information is passed on.
    """

    threshold: float = Field(0.5, ge=-1, le=1)
    temperature: float = Field(0.03, gt=0)
    steps: int = Field(5, ge=1, le=50)


class GPrune(Mechanism):
    """Top-k of what flows to a token over a few steps, per connection it has.

    Every token starts with the norm of its feature and passes it on to the tokens it resembles (itself included), in
    shares by softmax of the cosine; what has arrived is divided by the token's number of connections. Passing a vector
    on costs O(N^2) a step, where the code raises the matrix to a power. The graph spans the item, where the code builds
    one for the thumbnail and one for the crops. A zero token is connected to itself, where the code connects it to all.
    """

    name = "g_prune"
    family = "similarity"
    modalities = MODALITIES
    locations = ("projector",)
    criterion = "graph centrality"
    source = "G-Prune, arXiv 2501.02268, section 3; `prepare_inputs_labels_for_multimodal` of the official code"
    Params = GPruneParams
    params: GPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        scaled = tokens.unit_features()
        cosine = torch.bmm(scaled, scaled.mT)
        itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
        connected = (cosine >= self.params.threshold) & valid[:, :, None] & valid[:, None, :] | itself
        passed = (cosine / self.params.temperature).masked_fill(~connected, -torch.inf).softmax(2)
        flow = tokens.features.float().masked_fill(~valid[..., None], 0.0).norm(dim=2)[:, None]
        for _ in range(self.params.steps):
            flow = torch.bmm(flow, passed)
        return Reduction.select(top_mask(flow[:, 0] / connected.sum(2), budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * (work.d + self.params.steps)
