"""Connected components of the graph of token pairs, found exactly."""

from __future__ import annotations

from autotc.lazy import Tensor, torch


def join_pairs(label: Tensor, low: Tensor, high: Tensor, on: Tensor) -> Tensor:
    """Components, by their first token (R, P) long, after joining those of the pairs (R, E) that are on."""
    # Both ends of a pair take the lower of their labels, labels follow each other to the end, until no pair is apart.
    while True:
        a, b = label.gather(1, low).masked_fill(~on, 0), label.gather(1, high).masked_fill(~on, 0)
        label = label.scatter_reduce(1, torch.maximum(a, b), torch.minimum(a, b), "amin")
        while not torch.equal(label, hop := label.gather(1, label)):
            label = hop
        if torch.equal(label.gather(1, low).masked_fill(~on, 0), label.gather(1, high).masked_fill(~on, 0)):
            return label


def spanning_tree(scaled: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spanning tree of highest cosine (Boruvka) of tokens (R, P, D) of norm 1, as edges in the order of their tokens.

    Of equal cosines the earlier pair counts as higher. Joining the highest edges of the tree joins what the highest
    edges of the whole graph would.

    Returns:
        cosine, first and second token of each edge, each (R, E); entries of cosine -inf are no edges.
    """
    rows, n = valid.shape
    cosine = torch.bmm(scaled, scaled.mT)
    cosine = (cosine + cosine.mT) / 2  # rounding may differ across the diagonal
    place = torch.arange(n, device=valid.device).expand(rows, n)
    both = valid[:, :, None] & valid[:, None, :]
    label = place
    weights, pairs = [cosine.new_empty(rows, 0)], [place[:, :0]]
    while True:
        outward = both & (label[:, :, None] != label[:, None, :])
        if not bool(outward.any()):
            break
        # Every token's best pair that leads out of its component, then every component's.
        best, other = cosine.masked_fill(~outward, -torch.inf).max(2)
        pair = torch.minimum(place, other) * n + torch.maximum(place, other)
        top = torch.full_like(best, -torch.inf).scatter_reduce_(1, label, best, "amax")
        pair = pair.masked_fill((best < top.gather(1, label)) | best.isinf(), n * n)
        edge = torch.full_like(pair, n * n).scatter_reduce_(1, label, pair, "amin")
        on = edge < n * n
        low, high = (edge // n).masked_fill(~on, 0), edge % n
        # Two components that chose the same edge add it once.
        twin = edge.gather(1, torch.where(label.gather(1, low) == place, label.gather(1, high), label.gather(1, low)))
        fresh = on & ((twin != edge) | (label.gather(1, low).minimum(label.gather(1, high)) == place))
        weights.append(top.masked_fill(~fresh, -torch.inf))
        pairs.append(edge.masked_fill(~fresh, 0))
        label = join_pairs(label, low, high, on)
    weight, pair = torch.cat(weights, 1), torch.cat(pairs, 1)
    order = pair.argsort(dim=1, stable=True)
    weight, pair = weight.gather(1, order), pair.gather(1, order)
    return weight, pair // max(n, 1), pair % max(n, 1)
