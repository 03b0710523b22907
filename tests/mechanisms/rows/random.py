"""Random choice: a control, of which nothing is computed by hand."""

from __future__ import annotations

from ..kit import Row

ROW = Row(None, (), params=({}, {"seed": 1}))
