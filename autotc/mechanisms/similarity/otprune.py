"""OTPrune: survivors distributed as all tokens are (2602.20205; official `OTPrune` of `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import greedy_map
from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class OTPruneParams(Params):
    """Parameters of `OTPrune`; ``gamma``: weight of the covariances beside the identity, 0.01 in the official code."""

    gamma: float = Field(0.01, gt=0)


class OTPrune(Mechanism):
    """Add, one by one, the token that most raises log det(I + gamma x V S V'), which stands for the transport distance.

    V are the chosen tokens, S the second moments of all tokens; tokens that stand for several count as often in S. The
    choice is the greedy MAP of the matrix over all tokens. As in the official code, every channel is scaled to norm 1
    over the item, and not every token. The code keeps the factor in the model's precision, here it is in float32;
    channels that are zero throughout, where the code divides by zero, stay zero.
    """

    name = "otprune"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "log determinant"
    source = "OTPrune, arXiv 2602.20205; `OTPrune` and `greedy_select` of `llava_arch.py` of the official code"
    Params = OTPruneParams
    params: OTPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, mass = tokens.valid, tokens.mass.float()[..., None]
        x = tokens.features.float().masked_fill(~valid[..., None], 0.0)
        x = x / (x.square() * mass).sum(1, keepdim=True).sqrt().clamp_min(1e-6)
        if x.shape[1] > x.shape[2]:  # S is smaller than G
            kernel = torch.bmm(torch.bmm(x, torch.bmm(x.mT, x * mass)), x.mT)
        else:
            products = torch.bmm(x, x.mT)
            kernel = torch.bmm(products, products * mass)
        kernel = self.params.gamma * kernel
        kernel.diagonal(dim1=1, dim2=2).add_(1.0)
        return Reduction.select(greedy_map(kernel, torch.zeros_like(kernel[:, 0]), budget, valid))

    def flops(self, work: Work) -> int:
        n, m, d = work.n, work.m, work.d
        kernel = 4 * n * d * d + 2 * n * n * d if n > d else 2 * n * n * d + 2 * n**3
        return kernel + n * max(0, m - 1) * max(0, m - 2)
