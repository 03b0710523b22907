"""Triton's interpreter must be asked for before Triton is imported: tests of loops have a process of their own."""

from __future__ import annotations

from autotc.kernels.device import interpreted

collect_ignore = [] if interpreted() else ["test_loops.py"]
