"""Splitting a budget over groups of tokens."""

from __future__ import annotations

from autotc.lazy import Tensor, torch


def allocate(budget: Tensor, weight: Tensor, capacity: Tensor, least: int = 0) -> Tensor:
    """Split a budget over groups in proportion to weights, by largest remainders, exactly.

    What a full group cannot take goes to the others in proportion to their weights; groups of equal remainder are
    served in order.

    Args:
        budget: (B,) long, at most the row's capacity in all.
        weight: (B, G) float, not negative; a row of zeros counts as equal weights.
        capacity: (B, G) long, most that each group can take; 0 for absent groups.
        least: what every group gets first (up to its capacity), as far as the budget goes, earlier groups first.

    Returns:
        (B, G) long, between 0 and the capacity, summing to the budget.
    """
    given = capacity.clamp_max(least)
    over = (given.cumsum(1) - budget[:, None]).clamp_min(0)
    given = (given - over).clamp_min(0)
    room = (capacity - given).double()
    left = (budget - given.sum(1)).double()[:, None]
    weight = torch.nan_to_num(weight.double()).clamp_min(0)
    sharing = room > 0
    share = torch.zeros_like(room)
    # Groups that their share would overfill are filled and leave the sharing; at least one does in every round.
    for _ in range(room.shape[1]):
        open_weight = torch.where(sharing, weight, 0.0)
        open_weight = torch.where(open_weight.sum(1, keepdim=True) > 0, open_weight, sharing.double())
        rest = left - share.masked_fill(sharing, 0.0).sum(1, keepdim=True)
        ideal = rest * open_weight / open_weight.sum(1, keepdim=True).clamp_min(1e-300)
        share = torch.where(sharing, ideal, share)
        full = sharing & (ideal > room - 1e-9)
        if not bool(full.any()):
            break
        share = torch.where(full, room, share)
        sharing &= ~full
    floor_share = (share + 1e-9).floor()
    remainder = ((share - floor_share) * 1e6).round()  # shares that rounding errors alone tell apart are equal
    order = remainder.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    more = rank < left - floor_share.sum(1, keepdim=True)
    return given + floor_share.long() + more.long()


def allocate_within(share: Tensor, size: Tensor, group: Tensor) -> Tensor:
    """Split what each group gets over its parts, in proportion to their sizes.

    Args:
        share: (B, G) long, of each group, at most the sizes of its parts together.
        size: (B, H) long, of each part.
        group: (B, H) long, that each part belongs to, in [0, G).

    Returns:
        (B, H) long, at most the sizes.
    """
    inside = group[:, None] == torch.arange(share.shape[1], device=share.device)[:, None]
    room = (size[:, None] * inside).flatten(0, 1)
    return allocate(share.flatten(), room.double(), room).view_as(inside).sum(1)


def share_between(budget: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Shares in proportion to weights, none outside its bounds: what `allocate` turns into counts.

    Args:
        budget: (B,) long; below the sum of ``low`` that is what is returned, above that of ``high`` the same.
        weight: (B, G) float, not negative; weights of zero grow past ``low`` when all others are full.
        low, high: (B, G) float or long, with 0 <= low <= high.

    Returns:
        (B, G) float64.
    """
    weight, low, high = torch.nan_to_num(weight.double()), low.double(), high.double()
    top = weight.amax(1, keepdim=True)
    weight = torch.where(top > 0, weight / top.clamp_min(1e-300), 1.0).clamp_min(1e-9)

    def shares(factor: Tensor) -> Tensor:
        return (factor[..., None] * weight[:, None]).clamp(low[:, None], high[:, None])

    # The sum of the shares grows with their factor, in straight lines between the factors at which one meets a bound.
    bends = torch.cat([low / weight, high / weight], 1).sort(1).values
    sums = shares(bends).sum(2)
    wanted = budget.double()[:, None].clamp(sums[:, :1], sums[:, -1:])
    after = torch.searchsorted(sums, wanted).clamp(1, sums.shape[1] - 1)
    before = after - 1
    rise = (sums.gather(1, after) - sums.gather(1, before)).clamp_min(1e-300)
    part = ((wanted - sums.gather(1, before)) / rise).clamp(0.0, 1.0)
    factor = bends.gather(1, before) + part * (bends.gather(1, after) - bends.gather(1, before))
    return shares(factor)[:, 0]


def allocate_bounded(budget: Tensor, weight: Tensor, most: Tensor, capacity: Tensor) -> Tensor:
    """Split a budget over groups in proportion to weights, one to each first, within bounds (PruneSID, 2603.09480).

    Shares are differences of the rounded cumulative sum. What bounds cut off goes to the groups of the largest weights,
    earlier ones first, as many as each may have; where all bounds together are less than the budget, they are first
    raised by one and the same number.

    Args:
        budget: (B,) long, between the number of groups that are not empty and the row's capacity in all.
        weight: (B, G) long, not negative.
        most: (B, G) long, bounds.
        capacity: (B, G) long, most that each group can take; 0 for absent groups.

    Returns:
        (B, G) long, between 0 and the capacity, summing to the budget.
    """
    least = capacity.clamp_max(1)
    low, high = torch.zeros_like(budget), capacity.amax(1)
    for _ in range(int(high.max()).bit_length()):
        middle = (low + high) // 2
        enough = torch.minimum(most + middle[:, None], capacity).sum(1) >= budget
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    most = torch.minimum(most + high[:, None], capacity)

    share = weight.cumsum(1).double() / weight.sum(1, keepdim=True).clamp_min(1)
    upto = (share * (budget - least.sum(1))[:, None]).round().long()
    given = torch.minimum(least + upto.diff(dim=1, prepend=torch.zeros_like(upto[:, :1])), most)
    order = weight.argsort(dim=1, descending=True, stable=True)
    room = (most - given).gather(1, order)
    left = (budget - given.sum(1))[:, None] - (room.cumsum(1) - room)
    return given.scatter_add(1, order, torch.minimum(left.clamp_min(0), room))
