"""Farthest-first choice: each token the farthest from all chosen before."""

from __future__ import annotations

from abc import ABC, abstractmethod

from autotc.kernels.device import in_one_launch, warps, width
from autotc.lazy import Tensor, torch

LARGEST = 4 << 30
"""Bytes of a table of distances that is made for one launch; beyond them the loop asks for a row at a time."""
FAR = 1e6
"""What no distance exceeds: the nearest chosen token of a row without any is infinitely far."""


class Distance(ABC):
    """Distances between the tokens of each row."""

    @abstractmethod
    def row(self, index: Tensor) -> Tensor:
        """From one token of each row (B,) to all of the row, (B, N)."""

    @abstractmethod
    def table(self) -> Tensor:
        """From all to all, (B, N, N) float32."""


class Cosine(Distance):
    """1 - cosine.

    Args:
        scaled: (B, N, D) float, of norm 1. A row of distances multiplies N x D.
    """

    def __init__(self, scaled: Tensor) -> None:
        self._scaled = scaled
        self._rows = torch.arange(scaled.shape[0], device=scaled.device)

    def row(self, index: Tensor) -> Tensor:
        return 1.0 - torch.bmm(self._scaled, self._scaled[self._rows, index][:, :, None])[:, :, 0]

    def table(self) -> Tensor:
        return torch.bmm(self._scaled, self._scaled.mT).neg_().add_(1.0)


class Euclidean(Distance):
    """Norm of the difference.

    Args:
        values: (B, N, D) float, finite.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._rows = torch.arange(values.shape[0], device=values.device)

    def row(self, index: Tensor) -> Tensor:
        out: Tensor = (self._values - self._values[self._rows, index][:, None]).norm(dim=2)
        return out

    def table(self) -> Tensor:
        return torch.cdist(self._values, self._values)


class Manhattan(Distance):
    """Sum of differences.

    Args:
        places: (B, N, K) float, of each token.
    """

    def __init__(self, places: Tensor) -> None:
        self._places = places
        self._rows = torch.arange(places.shape[0], device=places.device)

    def row(self, index: Tensor) -> Tensor:
        return (self._places - self._places[self._rows, index][:, None]).abs().sum(2)

    def table(self) -> Tensor:
        return torch.cdist(self._places, self._places, p=1.0)


class Table(Distance):
    """Distances that are known.

    Args:
        distances: (B, N, N) float.
    """

    def __init__(self, distances: Tensor) -> None:
        self._distances = distances
        self._rows = torch.arange(distances.shape[0], device=distances.device)

    def row(self, index: Tensor) -> Tensor:
        return self._distances[self._rows, index]

    def table(self) -> Tensor:
        return self._distances


def farthest_first(
    distance: Distance,
    nearest: Tensor,
    chosen: Tensor,
    budget: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Add tokens one by one, each the farthest from all chosen before, until every row has its budget.

    Ties go to the earlier token. The loop asks for the distances of every token it adds but the last, the one launch
    for all of them.

    Args:
        distance: between the tokens of each row.
        nearest: (B, N) float, each token's distance to the nearest chosen one; infinite in rows without any.
        chosen: (B, N) bool, to start from.
        budget: (B,) long, chosen tokens in the end; rows that start with as many or more gain none.
        valid: (B, N) bool.
        weight: (B, N) float, not negative, what distances are multiplied by; None multiplies by 1.

    Returns:
        (B, N) bool.
    """
    made = 0 if isinstance(distance, Table) else 4 * valid.numel() * valid.shape[1]
    if in_one_launch(valid) and made <= LARGEST:
        return _launched(distance, nearest, chosen, budget, valid, weight)
    return farthest_first_loop(distance, nearest, chosen, budget, valid, weight)


def farthest_first_loop(
    distance: Distance, nearest: Tensor, chosen: Tensor, budget: Tensor, valid: Tensor, weight: Tensor | None
) -> Tensor:
    """`farthest_first` in tensor operators."""
    rows = torch.arange(valid.shape[0], device=valid.device)
    chosen, count = chosen.clone(), chosen.sum(1)
    steps = int((budget - count).max())
    for step in range(steps):
        score = nearest.clamp_max(FAR)
        score = (score if weight is None else score * weight).masked_fill(chosen | ~valid, -torch.inf)
        best = score.argmax(1)
        chosen[rows, best] |= count < budget
        count = count + (count < budget).long()
        if step + 1 < steps:
            nearest = torch.minimum(nearest, distance.row(best))
    return chosen


def _launched(
    distance: Distance, nearest: Tensor, chosen: Tensor, budget: Tensor, valid: Tensor, weight: Tensor | None
) -> Tensor:
    """`farthest_first` in one launch, a program a row."""
    from autotc.kernels.triton.farthest import farthest_first_kernel

    batch, n = valid.shape
    out, steps = chosen.to(torch.int8), budget - chosen.sum(1)
    nearest = nearest.float().contiguous()
    farthest_first_kernel[(batch,)](
        distance.table().contiguous(),
        nearest,
        nearest if weight is None else weight.float().contiguous(),
        (chosen | ~valid).to(torch.int8),
        steps,
        out,
        n,
        far=FAR,
        weighted=weight is not None,
        WIDTH=width(n),
        num_warps=warps(width(n)),
    )
    return out.bool()
