"""Runs the tests of loops in one launch, in a process that has Triton's interpreter from the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotc.kernels.device import interpreted


@pytest.mark.skipif(interpreted(), reason="this is that process")
def test_loops_in_one_launch_choose_what_their_operators_choose() -> None:
    pytest.importorskip("triton", reason="torch brings Triton on Linux alone")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "test_loops.py"]
    run = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert "passed" in run.stdout
    assert "skipped" not in run.stdout
