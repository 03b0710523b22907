"""HoliTom's merge before the language model (2505.21334, section 3.2; official `select_static_windows`, `holitom`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import AdaptiveParams, DensityParams, Mechanism, Work
from autotc.mechanisms.grouping import count_groups, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import merge_static_places
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class HoliTomParams(AdaptiveParams, DensityParams):
    """Parameters of `HoliTom`; the defaults are those of the official code and scripts.

    ``static_threshold``: cosine to the frame before above which a place is static. ``centre_share``: weight of a
    cluster's centre against the mean of its other tokens. ``neighbours``: k of the density, or a set's clusters where
    they are fewer. ``noise_seed``: of the published noise on the density; None for none.
    """

    static_threshold: float = Field(0.8, ge=-1, le=1)
    centre_share: float = Field(0.6, gt=0, le=1)
    neighbours: int = Field(7, ge=1)


class HoliTom(Mechanism):
    """Segments chosen to make the most places static; these merge over time and cluster, the rest keep by attention.

    The segmentation is the dynamic programme of the paper. Static tokens of a segment merge over its frames and are
    clustered by DPC-KNN; a cluster is 0.6 x its centre + 0.4 x the mean of the others, as in the code. Of each frame's
    other tokens, those with the highest attention in the tower stay, and the rest is dropped, as the code does by
    default. All sets keep the same share, by largest remainders, where the code rounds each up or off. Where merging
    all static places would leave less than the budget, only the most static ones merge; the code merges all
    (``adaptive``).

    The code's noise on the density, which decides alone where tokens are far apart (`density_peaks`), comes with
    ``noise_seed``. It also decides a set of one cluster, where k is 1 and a token its own nearest: all are equally
    dense, the code's centre is one by chance, and here, without noise, the first; and in a set of two clusters, where
    k is 2, which of two tokens that are each other's nearest counts as the denser one: here the earlier.
    """

    name = "holitom"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("received_attention",)
    uses_grid = True
    criterion = "global temporal redundancy"
    source = "HoliTom, arXiv 2505.21334, section 3.2; `select_static_windows` and `holitom` of the official code"
    Params = HoliTomParams
    params: HoliTomParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        spare = None if params.adaptive else tokens.count - budget
        over_time, static, cut = merge_static_places(tokens, params.static_threshold, spare)

        at, left = over_time.keep.clamp_min(0), over_time.keep >= 0
        static = static.gather(1, at) & left
        segment, frames = cut.gather(1, frame), cut.shape[1]
        group = torch.where(static, segment.gather(1, at), frames + frame.gather(1, at)).masked_fill(~left, 0)
        size = count_groups(group, left, 2 * frames)
        count = allocate(torch.minimum(budget, left.sum(1)), size.double(), size)
        seen = top_per_group(scores["received_attention"].gather(1, at), group, count, left & ~static)
        values = over_time.apply(tokens.features.float().masked_fill(~valid[..., None], 0.0))
        clusters = count[:, :frames]
        k = clusters.clamp(1, params.neighbours)
        centre, target = cluster_groups(values, group, clusters, static, k, noise_seed=params.noise_seed)
        return over_time.then(self._join(seen | centre, target, static & ~centre, over_time.mass(tokens.mass)[0]))

    def _join(self, kept: Tensor, target: Tensor, moves: Tensor, mass: Tensor) -> Reduction:
        """Clusters of centre and mean of the others; everything else is selected."""
        moves = moves & (target >= 0)
        into = target.clamp_min(0)
        others = torch.zeros_like(mass).scatter_add_(1, into, mass.masked_fill(~moves, 0.0))
        row, token = kept.nonzero(as_tuple=True)
        alone = torch.where(others[row, token] > 0, self.params.centre_share, 1.0)
        moved_row, mover = moves.nonzero(as_tuple=True)
        sink = into[moved_row, mover]
        part = (1.0 - self.params.centre_share) * mass[moved_row, mover] / others[moved_row, sink]
        return weighted(kept, (row, token, token, alone), (moved_row, mover, sink, part))

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        return 2 * work.d * (work.n + work.frames * area**2)
