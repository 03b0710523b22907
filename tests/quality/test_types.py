"""mypy's strict mode holds over the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_types() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "autotc"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
