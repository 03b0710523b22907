"""FLoC: facility location, maximised greedily (2511.00141)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

_BLOCK = 32  # candidates looked at again at once


def _total(values: Tensor) -> Tensor:
    """Sum over the last axis in float64, to nine decimals."""
    return (values.sum(-1, dtype=torch.float64) * 1e9).round() / 1e9


class Floc(Mechanism):
    """Add, one by one, the token that most raises the sum over all tokens of the cosine to the nearest chosen one.

    The sum is submodular, so an old gain bounds the present one: as in lazy greedy, only candidates of the highest old
    gains are computed again, here in blocks, until the best of all is up to date. The choice is that of plain greedy.
    Cosines below zero count as zero, the value of an empty choice, and tokens that stand for several count as often.
    The choice is over the whole item, by features after the projector: how the published one cuts long videos into
    clips, and which features it reads, is not confirmed.
    """

    name = "floc"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "coverage"
    source = "FLoC, arXiv 2511.00141: facility location function and lazy greedy selection"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        unit, valid = tokens.unit_features(), tokens.valid
        rows = torch.arange(valid.shape[0], device=valid.device)
        cosine = torch.bmm(unit, unit.mT)
        # Two tokens that cover none but each other gain the same: rounding must not choose between them.
        cosine = ((cosine + cosine.mT) / 2).clamp_min(0.0)
        cosine.diagonal(dim1=1, dim2=2).round_()
        mass = tokens.mass.float()[:, None]
        gain = _total(cosine * mass).masked_fill(~valid, -torch.inf)
        covered = torch.zeros_like(gain)
        fresh = torch.ones_like(valid)
        chosen = torch.zeros_like(valid)
        block = min(_BLOCK, valid.shape[1])
        for step in range(int(budget.max())):
            open_row = step < budget
            best = gain.argmax(1)
            while bool((open_row & ~fresh[rows, best]).any()):
                stale = gain.masked_fill(fresh, -torch.inf).topk(block, dim=1).indices
                closer = cosine.gather(1, stale[..., None].expand(-1, -1, valid.shape[1])).double() - covered[:, None]
                latest = _total(closer.clamp_min(0.0) * mass)
                old = gain.gather(1, stale)
                gain.scatter_(1, stale, torch.where(old.isfinite(), latest.minimum(old), old))
                fresh.scatter_(1, stale, torch.ones_like(stale, dtype=torch.bool))
                best = gain.argmax(1)
            chosen[rows, best] |= open_row
            gain[rows, best] = -torch.inf
            covered = torch.maximum(covered, cosine[rows, best].double())
            fresh = chosen.clone()
        return Reduction.select(chosen & valid)

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
