"""A batch of items as mechanisms see them."""

from __future__ import annotations

from dataclasses import dataclass

from autotc.lazy import Tensor


@dataclass(frozen=True)
class Tokens:
    """A batch of items, one row each, right-aligned to the longest.

    Attributes:
        features: (B, N, D) float.
        valid: (B, N) bool; False marks the padding on the left.
        grid: (B, N, 3) long, place (t, y, x) in the item's own grid; audio uses t alone.
        box: (B, N, 6) float, source extent (t0, t1, y0, y1, x0, x1) in seconds and pixels.
        mass: (B, N) float, how many original tokens each stands for; 0 on padding.
    """

    features: Tensor
    valid: Tensor
    grid: Tensor
    box: Tensor
    mass: Tensor

    @property
    def count(self) -> Tensor:
        """Valid tokens of each row, (B,) long."""
        return self.valid.sum(1)

    def unit_features(self) -> Tensor:
        """Features of norm 1, zeros on padding and where the norm is zero, (B, N, D) in at least float32."""
        x = self.features.float()
        unit: Tensor = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        return unit.masked_fill(~self.valid[..., None], 0.0)
