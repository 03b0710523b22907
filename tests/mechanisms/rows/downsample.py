"""Downsampling of the input: on tokens, what average pooling does; its target grids are tested in `test_grids`."""

from __future__ import annotations

from ..kit import Case, Row
from .avg_pool import reference

ROW = Row(
    reference,
    (Case([[1.0], [3.0], [5.0], [7.0]], 1, [0], [[4.0]], grid=(1, 2, 2)),),
    conserves=True,
    params=({}, {"axis": "time"}),
)
