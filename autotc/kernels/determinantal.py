"""Greedy MAP of a determinantal point process, by rows of the Cholesky factor (1709.05135, algorithm 1)."""

from __future__ import annotations

from autotc.kernels.device import in_one_launch, programs, warps, width
from autotc.lazy import Tensor, torch

SPENT = 1e-6
"""Share of its first gain under which a token lies in the span of those chosen: the rest is rounding noise."""
LAST = 3.0
"""What preferences are lowered by, so that every gain, which is not negative, ranks above every spent token."""
_KNOWN = 16
"""Rows of the factor that a program reads at once."""


def greedy_map(kernel: Tensor, preference: Tensor, budget: Tensor, valid: Tensor) -> Tensor:
    """Add, one by one, the token that most raises the determinant of the chosen ones' kernel.

    Once what is left lies in the span of the chosen ones, preference alone decides. Ties go to the earlier token.

    Args:
        kernel: (B, N, N) float, positive semidefinite.
        preference: (B, N) float in [0, 2].
        budget: (B,) long, at most the valid tokens.
        valid: (B, N) bool.

    Returns:
        (B, N) bool.
    """
    if in_one_launch(valid):
        return _launched(kernel, preference, budget, valid)
    return greedy_map_loop(kernel, preference, budget, valid)


def greedy_map_loop(kernel: Tensor, preference: Tensor, budget: Tensor, valid: Tensor) -> Tensor:
    """`greedy_map` in tensor operators."""
    rows = torch.arange(valid.shape[0], device=valid.device)
    diagonal = kernel.diagonal(dim1=1, dim2=2)
    gain = diagonal.clone()
    steps = int(budget.max())
    factor = kernel.new_zeros(valid.shape[0], steps, valid.shape[1])  # rows of the Cholesky factor
    chosen = torch.zeros_like(valid)
    for step in range(steps):
        spent = gain <= SPENT * diagonal
        score = torch.where(spent, preference - LAST, gain).masked_fill(chosen | ~valid, -torch.inf)
        best = score.argmax(1)
        chosen[rows, best] |= step < budget
        if step == steps - 1:
            break
        update = kernel[rows, best]
        if step:
            known = factor[:, :step]
            update = update - torch.bmm(known[rows, :, best][:, None], known)[:, 0]
        update = update / gain[rows, best].clamp_min(1e-30).sqrt()[:, None]
        update = update.masked_fill(spent[rows, best][:, None], 0.0)
        factor[:, step] = update
        gain = gain - update.square()
    return chosen & valid


def _launched(kernel: Tensor, preference: Tensor, budget: Tensor, valid: Tensor) -> Tensor:
    """`greedy_map` in one launch; several programs share a row, and wait for one another at every token."""
    from autotc.kernels.triton.determinantal import greedy_map_kernel

    batch, n = valid.shape
    kernel = kernel.float().contiguous()
    shared = programs(valid)
    each = -(-n // shared)
    most = int(budget.max())
    chosen = torch.zeros(batch, n, dtype=torch.int8, device=valid.device)
    greedy_map_kernel[(batch, shared)](
        kernel,
        preference.float().contiguous(),
        valid.to(torch.int8),
        budget,
        kernel.new_empty(batch, most, n),
        kernel.new_empty(2, batch, shared),
        torch.empty(2, batch, shared, dtype=torch.int32, device=valid.device),
        torch.zeros(batch, dtype=torch.int32, device=valid.device),
        chosen,
        n,
        each,
        most,
        spent_share=SPENT,
        last=LAST,
        PROGRAMS=shared,
        WIDTH=width(each),
        KNOWN=_KNOWN,
        num_warps=warps(width(each) * _KNOWN // 4),
    )
    return chosen.bool()
