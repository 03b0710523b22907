"""ApET: keep what a few basis tokens reconstruct worst (2602.19870; official `encode_images` and `layer_prune`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Euclidean, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

RIDGE = 1e-5
"""Added to the squared norms of basis tokens, as in the official code."""
ROUNDING = 1e-6
"""Share of the largest squared norm added as well: basis tokens may be equal but for rounding."""


class ApetParams(Params):
    """Parameters of `Apet`; ``basis``: basis tokens, published 10; at most half of the survivors."""

    basis: int = Field(10, ge=1)


class Apet(Mechanism):
    """Basis tokens by farthest-point sampling, and the tokens that linear reconstruction from them misses by most.

    Both survive. Every other token flows into the most similar survivor that is not a basis token, by plain average.
    As in the official code, distances are Euclidean and reconstruction is ridge regression. The code starts the
    sampling at a random token, here it is the one farthest from the mean. The code puts basis tokens in the places of
    the survivors of least error, which are lost, and lets basis tokens flow into others as well; here they keep their
    own places.
    """

    name = "apet"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "reconstruction error"
    source = "ApET, arXiv 2602.19870; `encode_images` and `layer_prune` of the official code"
    Params = ApetParams
    params: ApetParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        x = tokens.features.float().masked_fill(~valid[..., None], 0.0)
        basis = self._basis(x, (budget // 2).clamp_max(self.params.basis), valid)
        most = top_mask(self._error(x, basis), budget - basis.sum(1), valid & ~basis)
        kept = basis | most
        into, _ = nearest(x, most, valid)
        place = torch.arange(valid.shape[1], device=valid.device)
        target = torch.where(kept, place, into).masked_fill(~valid, -1)
        return Reduction.merge(kept, target, torch.ones_like(x[..., 0]))

    @staticmethod
    def _basis(x: Tensor, count: Tensor, valid: Tensor) -> Tensor:
        """Farthest-point sampling, (B, N) bool."""
        rows = torch.arange(len(x), device=x.device)
        mean = x.sum(1, keepdim=True) / valid.sum(1).clamp_min(1)[:, None, None]
        first = (x - mean).norm(dim=2).masked_fill(~valid, -torch.inf).argmax(1)
        chosen = torch.zeros_like(valid)
        chosen[rows, first] = count > 0
        distance = Euclidean(x)
        return farthest_first(distance, distance.row(first), chosen, count, valid)

    @staticmethod
    def _error(x: Tensor, basis: Tensor) -> Tensor:
        """Distance of each token from its reconstruction, (B, N)."""
        seeds = Reduction.select(basis).apply(x)
        products = torch.bmm(seeds, seeds.mT).double()
        scale = products.diagonal(dim1=1, dim2=2).amax(1, keepdim=True) if seeds.shape[1] else products.sum(2)
        products.diagonal(dim1=1, dim2=2).add_(RIDGE + ROUNDING * scale)
        share = torch.linalg.solve(products, torch.bmm(seeds, x.mT).double()).float()
        out: Tensor = (x - torch.bmm(share.mT, seeds)).norm(dim=2)
        return out

    def flops(self, work: Work) -> int:
        k = min(self.params.basis, work.m // 2)
        return 2 * work.d * (k * k + 2 * k * work.n + work.n * (work.m - k))
