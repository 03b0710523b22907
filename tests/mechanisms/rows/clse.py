"""CLSE, by a Fourier transform of each frame, filtered and transformed back."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, top


def high(x: Array, grid: tuple[int, int, int], cutoff: float) -> Array:
    """(N,): mean over channels of the absolute high-passed frames."""
    t, rows, columns = grid
    out = np.zeros((t, rows, columns))
    sides = [side // 2 for side in (rows, columns) if side > 1]
    sigma = cutoff * (min(sides) if sides else 1.0)
    y, z = np.meshgrid(np.fft.fftfreq(rows, 1 / rows), np.fft.fftfreq(columns, 1 / columns), indexing="ij")
    keep = 1 - np.exp(-(y**2 + z**2) / (2 * sigma**2))
    for frame in range(t):
        for channel in range(x.shape[1]):
            field = x.reshape(t, rows, columns, -1)[frame, :, :, channel]
            out[frame] += np.abs(np.fft.ifft2(np.fft.fft2(field) * keep)) / x.shape[1]
    flat: Array = out.reshape(-1)
    return flat


def reference(given: Given, m: int) -> list[int]:
    """The two spectra, their change, its standard score through a logistic function, times attention."""
    cutoff = float(given.params.get("cutoff", 0.1))  # type: ignore[arg-type]
    temperature = float(given.params.get("temperature", 0.1))  # type: ignore[arg-type]
    before = high(given.scores["features_before"], given.grid, cutoff)
    now = high(given.x, given.grid, cutoff)
    change = np.minimum(np.abs(now - before) / (before.mean() + before + 1e-6), 1.0)
    spread = change.std(ddof=1) if len(change) > 1 else 0.0
    standard = (change - change.mean()) / (spread + 1e-6) / temperature
    evolution = 1 / (1 + np.exp(-standard))
    return top(evolution * given.scores["last_query_attention"], m)


# One row of four places; half of the side is 2 and sigma 0.2, so that frequency 1 loses exp(-12.5), next to nothing,
# and the filter takes away the mean. Before: 1, -1, 1, -1; high frequencies 1 everywhere. Now: 4, 0, 2, -2, less the
# mean 1: 3, -1, 1, -3; the absolute values differ by 2, 0, 0, 2 and, divided by 1 + 1, are 1, 0, 0, 1. Their mean is
# 0.5, their spread sqrt(4 x 0.25 / 3) = 0.577, the standard scores 0.866 and -0.866; the logistic function of ten times
# that is 0.9998 and 0.0002. By attention 0.1, 0.5, 0.4, 0.2 the order is 3 (0.2), 0 (0.1), 1 and 2.
_X = [[4.0], [0.0], [2.0], [-2.0]]
_SCORES = {"features_before": [[1.0], [-1.0], [1.0], [-1.0]], "last_query_attention": [0.1, 0.5, 0.4, 0.2]}
ROW = Row(
    reference,
    (
        Case(_X, 1, [3], grid=(1, 1, 4), scores=_SCORES),
        Case(_X, 3, [0, 1, 3], grid=(1, 1, 4), scores=_SCORES),
        # So hot that all change counts alike: attention decides.
        Case(_X, 2, [1, 2], grid=(1, 4, 1), scores=_SCORES, params={"temperature": 1e6}),
        # Four frames of one place: there is no frequency but the mean, and nothing changes.
        Case(_X, 2, [1, 2], grid=(4, 1, 1), scores=_SCORES),
    ),
    exact_flops=False,
    params=({}, {"cutoff": 0.5}, {"temperature": 1.0}),
)
