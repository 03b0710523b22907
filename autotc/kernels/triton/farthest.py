"""Farthest-first choice in one launch."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def farthest_first_kernel(
    distance, nearest, weight, closed, steps, chosen, n, far, weighted: tl.constexpr, WIDTH: tl.constexpr
) -> None:
    """One row; pointers to (B, N, N), (B, N), (B, N), (B, N) int8, (B,) int64, and (B, N) int8, which is written."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, WIDTH)
    inside = place < n
    distance += row * n * n
    chosen += row * n
    near = tl.load(nearest + row * n + place, mask=inside, other=0.0)
    shut = tl.load(closed + row * n + place, mask=inside, other=1) != 0
    if weighted:
        factor = tl.load(weight + row * n + place, mask=inside, other=0.0)
    for _ in range(tl.load(steps + row)):
        score = tl.minimum(near, far, propagate_nan=tl.PropagateNan.ALL)
        if weighted:
            score = score * factor
        score = tl.where(score != score, float("inf"), score)  # first of all, as in torch.argmax
        score = tl.where(shut, float("-inf"), score)
        best = tl.argmax(score, 0, tie_break_left=True)
        tl.store(chosen + best, 1)
        shut = shut | (place == best)
        latest = tl.load(distance + best.to(tl.int64) * n + place, mask=inside, other=0.0)
        near = tl.minimum(near, latest, propagate_nan=tl.PropagateNan.ALL)
