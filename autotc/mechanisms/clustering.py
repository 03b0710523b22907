"""Clusters by density peaks, the nearest of a set, and how crowded tokens stand."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.grouping import group_rows, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.selection import rank_in_group, top_mask, unit


def nearest(values: Tensor, among: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """For each token the most similar one of a set, by cosine; ties go to the earlier.

    Multiplies N x M x D, where M is the size of the largest row's set.

    Args:
        values: (B, N, D) float.
        among: (B, N) bool, the set; a row without any gives token 0 with similarity -inf.
        valid: (B, N) bool.

    Returns:
        index (B, N) long and cosine (B, N) float; undefined on padding.
    """
    scaled = unit(values, valid)
    chosen = Reduction.select(among & valid)
    cosine = torch.bmm(scaled, chosen.apply(scaled).mT)
    if cosine.shape[2] == 0:
        return torch.zeros_like(among, dtype=torch.long), cosine.new_full(among.shape, -torch.inf)
    best, at = cosine.masked_fill((chosen.keep < 0)[:, None], -torch.inf).max(2)
    return chosen.keep.gather(1, at).clamp_min(0), best


def fill_anchors(features: Tensor, kept: Tensor, anchors: Tensor, most: int, valid: Tensor) -> Reduction:
    """Some tokens as they are; of the rest, evenly spaced anchors take in the few most like them (OmniZip, 2511.14582).

    An anchor becomes the mean of itself and of the average, weighted by a softmax of the cosine, of the tokens it
    takes; what no anchor takes is dropped. Multiplies N x A x D, where A is the largest number of anchors.

    Args:
        features: (B, N, D) float.
        kept: (B, N) bool, survivors as they are.
        anchors: (B,) long, anchors wanted of the rest, at most as many as it has.
        most: tokens that an anchor takes.
        valid: (B, N) bool.
    """
    rest = valid & ~kept
    step = (rest.sum(1) // anchors.clamp_min(1)).clamp_min(1)[:, None]
    rank = rest.cumsum(1) - 1
    anchor = rest & (rank % step == 0) & (rank // step < anchors[:, None])
    survivors = kept | anchor

    into, cosine = nearest(features, anchor, valid)
    open_to = rest & ~anchor & anchor.any(1, keepdim=True)
    taken = open_to & (rank_in_group(cosine, torch.where(open_to, into, 0), open_to) < most)
    row, source = taken.nonzero(as_tuple=True)
    target = into[row, source]
    strength = cosine[row, source].exp()
    total = torch.zeros(valid.shape, device=valid.device).index_put_((row, target), strength, accumulate=True)
    stays, token = survivors.nonzero(as_tuple=True)
    own = torch.where(total[stays, token] > 0, 0.5, 1.0)
    return weighted(survivors, (stays, token, token, own), (row, source, target, 0.5 * strength / total[row, target]))


def crowding(scaled: Tensor, group: Tensor, members: Tensor, neighbours: int) -> Tensor:
    """Mean cosine of each token to the most similar ones of its group, (B, N) float; 0 for those outside and alone.

    Multiplies R x P^2 x D for the R groups that have members, P the size of the largest.

    Args:
        scaled: (B, N, D) float, of norm 1.
        group: (B, N) long, from 0.
        members: (B, N) bool.
        neighbours: how many of the most similar ones.
    """
    out = torch.zeros(members.numel(), device=members.device)
    rows = group_rows(group, members, int(group.masked_fill(~members, 0).max()) + 1)
    rows = rows[(rows >= 0).any(1)]
    if rows.numel():
        present = rows >= 0
        cells = scaled.flatten(0, 1)[rows.clamp_min(0)]
        cosine = torch.bmm(cells, cells.mT).masked_fill(~present[:, None], -torch.inf)
        cosine.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        near = cosine.topk(min(neighbours, rows.shape[1]), dim=2).values
        real = near.isfinite()
        mean = near.masked_fill(~real, 0.0).sum(2) / real.sum(2).clamp_min(1)
        out[rows[present]] = mean[present]
    return out.view(members.shape)


def distances(values: Tensor, valid: Tensor) -> Tensor:
    """Euclidean distances between the tokens of each row, (R, P, P) float32; zeros on the diagonal and on padding.

    Args:
        values: (R, P, D) float. Multiplies R x P^2 x D.
        valid: (R, P) bool.
    """
    clean = values.float().masked_fill(~valid[..., None], 0.0)
    # Distances do not see the origin; near the mean, less is lost to rounding.
    centred = clean - clean.sum(1, keepdim=True) / valid.sum(1).clamp_min(1)[:, None, None]
    square, product = centred.square().sum(2), torch.bmm(centred, centred.mT)
    squared = square[:, :, None] + square[:, None, :] - (product + product.mT)
    squared.diagonal(dim1=1, dim2=2).zero_()
    both = valid[:, :, None] & valid[:, None, :]
    return squared.clamp_min(0.0).sqrt().masked_fill(~both, 0.0)


NOISE = 1e-6
"""What the official codes draw the noise of a density up to."""


def density_noise(valid: Tensor, groups: int, seed: int) -> Tensor:
    """The noise that official codes add to densities: uniform in [0, 1e-6), (R, P) float32, zeros on padding.

    Drawn anew for each row from the seed, the row's number among those of its item that have tokens, and its size: the
    same in every batch.

    Args:
        valid: (R, P) bool.
        groups: rows of an item.
        seed: of the draw.
    """
    sizes = valid.sum(1)
    number = (sizes > 0).view(-1, groups).cumsum(1).flatten() - 1
    draws = []
    for key in zip(number.tolist(), sizes.tolist(), strict=True):
        generator = torch.Generator().manual_seed(hash((seed, *key)) % 2**63)
        draws.append(NOISE * torch.rand(key[1], generator=generator))
    return torch.zeros(valid.shape, device=valid.device).masked_scatter(valid, torch.cat(draws).to(valid.device))


def density_peaks(
    distance: Tensor, valid: Tensor, neighbours: int | Tensor, itself: bool = False, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Density and separation of DPC-KNN (Du et al. 2016, equations 6 and 4).

    The official codes (SparseVLM, FastVID, PruneVid, HoliTom, FlashVID and others) add uniform noise of up to 1e-6, so
    that no two tokens are equally dense, as they say. It is more than that: exp(-13.8) is 1e-6, so that above a mean
    squared distance of about 15 the noise is all there is of a density, centres are drawn by chance, weighted by
    distance, and published results rest on it. Without ``noise`` nothing is random: densities count until they
    underflow, above about 100, and of equally dense tokens the earlier counts as the denser one. With it the rule is
    the published one.

    Args:
        distance: (B, N, N) float, between tokens of a row, not negative.
        valid: (B, N) bool.
        neighbours: k of the k nearest tokens; (B,) long for a k of each row's own.
        itself: whether a token counts among its nearest, at distance 0, as in the code of TCFormer that many copied.
        noise: (B, N) float, added to the densities (`density_noise`); None for none.

    Returns:
        density (B, N), exp(-mean squared distance to the k nearest), and separation (B, N), the distance to the nearest
        token of higher density (of equal density: an earlier one), for the densest the largest distance of its row.
        Cluster centres are the tokens of highest density x separation. Zeros on padding.
    """
    n = valid.shape[1]
    both = valid[:, :, None] & valid[:, None, :]
    same = torch.eye(n, dtype=torch.bool, device=valid.device)
    k = torch.as_tensor(neighbours, device=valid.device).expand(valid.shape[0])
    others = distance.masked_fill(~both, torch.inf)
    others = others.masked_fill(same, 0.0 if itself else torch.inf)
    near = others.topk(min(int(k.max()), n), dim=2, largest=False).values
    real = near.isfinite() & (torch.arange(near.shape[2], device=valid.device) < k[:, None, None])
    mean = near.masked_fill(~real, 0.0).square().sum(2) / real.sum(2).clamp_min(1)
    density = (-mean).exp()
    density = (density if noise is None else density + noise).masked_fill(~valid, 0.0)
    earlier = torch.ones(n, n, dtype=torch.bool, device=valid.device).tril(-1)
    higher = (density[:, None, :] > density[:, :, None]) | ((density[:, None, :] == density[:, :, None]) & earlier)
    separation = distance.masked_fill(~(higher & both), torch.inf).amin(2)
    widest = distance.masked_fill(~both, 0.0).amax((1, 2))
    separation = torch.where(separation.isfinite(), separation, widest[:, None]).masked_fill(~valid, 0.0)
    return density, separation


def cluster_groups(
    values: Tensor,
    group: Tensor,
    count: Tensor,
    valid: Tensor,
    neighbours: int | Tensor,
    itself: bool = True,
    noise_seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """DPC-KNN within each group, as the code of the video methods has it.

    Distances are divided by the square root of the width; every token belongs to the nearest centre.

    Args:
        values: (B, N, D) float. Multiplies B x G x P^2 x D, where P is the size of the largest group.
        group: (B, N) long, in [0, G).
        count: (B, G) long, centres wanted of each group, at most its size.
        valid: (B, N) bool, the tokens to cluster.
        neighbours: k; (B, G) long for a k of each group's own.
        itself: whether the k nearest include the token itself.
        noise_seed: of the noise on the densities (`density_noise`), one row for each group; None for none.

    Returns:
        centres (B, N) bool, and the centre (B, N) long that each token belongs to; -1 where its group has none, and
        outside ``valid``.
    """
    centres = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
    target = torch.full((valid.numel(),), -1, dtype=torch.long, device=valid.device)
    rows = group_rows(group, valid, count.shape[1])
    if rows.shape[1]:
        present = rows >= 0
        distance = distances(values.flatten(0, 1)[rows.clamp_min(0)], present) / values.shape[2] ** 0.5
        k = neighbours.flatten() if isinstance(neighbours, torch.Tensor) else neighbours
        noise = None if noise_seed is None else density_noise(present, count.shape[1], noise_seed)
        density, separation = density_peaks(distance, present, k, itself, noise)
        centre = top_mask(density * separation, count.flatten(), present)
        place = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        near = distance.masked_fill(~centre[:, None, :], torch.inf).argmin(2)
        into = rows.gather(1, torch.where(centre, place, near)) % valid.shape[1]
        into = into.masked_fill(~centre.any(1, keepdim=True), -1)
        centres[rows[present]] = centre[present]
        target[rows[present]] = into[present]
    return centres.view(valid.shape), target.view(valid.shape)


def centres_apart(distance: Tensor, denser: Tensor, present: Tensor, bound: Tensor) -> Tensor:
    """Tokens that have no denser centre within a bound, (B, C) bool (the visit of DBDPC, 2504.08966).

    Visited by falling density, a token becomes a centre unless an earlier centre lies within the bound. All tokens that
    can be settled are, in every round.

    Args:
        distance: (B, C, C) float.
        denser: (B, C, C) bool, whether the second token is visited before the first.
        present: (B, C) bool.
        bound: (B,) float.
    """
    blocks = denser & (distance <= bound[:, None, None])
    open_ = present.clone()
    centre = torch.zeros_like(present)
    while bool(open_.any()):
        fresh = open_ & ~(blocks & open_[:, None]).any(2)
        centre = centre | fresh
        open_ = open_ & ~fresh & ~(blocks & fresh[:, None]).any(2)
    return centre
