"""Greedy MAP of a determinantal point process in one launch."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def greedy_map_kernel(
    kernel,
    preference,
    valid,
    budget,
    factor,
    values,
    places,
    arrived,
    chosen,
    n,
    each,
    most,
    spent_share,
    last,
    PROGRAMS: tl.constexpr,
    WIDTH: tl.constexpr,
    KNOWN: tl.constexpr,
) -> None:
    """``each`` columns of one row; program (b, p) of B x PROGRAMS, which all run at once.

    Args:
        kernel, preference, valid, budget: (B, N, N) and (B, N) float32, (B, N) int8, (B,) int64.
        factor: (B, most, N) float32, rows of the Cholesky factor.
        values, places: (2, B, PROGRAMS) float32 and int32, the best of each program's columns; two, since a fast
            program writes those of the next token while a slow one reads.
        arrived: (B,) int32 of zeros, how often programs have told their best.
        chosen: (B, N) int8 of zeros, which is written.
    """
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    rows = tl.num_programs(0)
    place = part * each + tl.arange(0, WIDTH)
    inside = (tl.arange(0, WIDTH) < each) & (place < n)
    kernel += row * n * n
    factor += row * most * n
    fresh = factor
    first = tl.load(kernel + place.to(tl.int64) * (n + 1), mask=inside, other=0.0)
    second = tl.load(preference + row * n + place, mask=inside, other=0.0) - last
    shut = tl.load(valid + row * n + place, mask=inside, other=0) == 0
    gain = first
    peers = tl.arange(0, PROGRAMS)
    known = tl.arange(0, KNOWN)
    count = tl.load(budget + row).to(tl.int32)
    for step in range(count):
        score = tl.where(gain <= spent_share * first, second, gain)
        score = tl.where(score != score, float("inf"), score)  # first of all, as in torch.argmax
        score = tl.where(shut, float("-inf"), score)
        top = tl.max(score, 0)
        best = part * each + tl.argmax(score, 0, tie_break_left=True)
        if PROGRAMS > 1:
            slot = ((step % 2) * rows + row) * PROGRAMS
            tl.store(values + slot + part, top)
            tl.store(places + slot + part, best)
            tl.debug_barrier()  # all of the program's writes, those of the factor too, come before it arrives
            tl.atomic_add(arrived + row, 1, sem="acq_rel")
            while tl.atomic_add(arrived + row, 0, sem="acq_rel") < PROGRAMS * (step + 1):
                pass
            tl.debug_barrier()
            tops = tl.load(values + slot + peers, cache_modifier=".cg")
            top = tl.max(tops, 0)
            of = tl.argmax(tops, 0, tie_break_left=True)  # programs lie in the order of their columns
            best = tl.load(places + slot + of, cache_modifier=".cg")
        tl.store(chosen + row * n + best, 1, mask=part == 0)
        shut = shut | (place == best)
        update = tl.load(kernel + best.to(tl.int64) * n + place, mask=inside, other=0.0)
        for start in range(0, step, KNOWN):
            before = (start + known).to(tl.int64)
            real = start + known < step
            share = tl.load(factor + before * n + best, mask=real, other=0.0, cache_modifier=".cg")
            earlier = tl.load(
                factor + before[:, None] * n + place[None, :], mask=real[:, None] & inside[None, :], other=0.0
            )
            update -= tl.sum(share[:, None] * earlier, 0)
        # Spent tokens score below zero, others what they gain.
        update = tl.where(top < 0.0, 0.0, update / tl.sqrt(tl.maximum(top, 1e-30)))
        tl.store(fresh + place, update, mask=inside)
        fresh += n
        gain -= update * update
        tl.debug_barrier()
