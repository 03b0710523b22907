"""What importing loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement", ["import autotc", "import autotc; autotc.apply; autotc.configure; autotc.Policy", "import autotc.cli"]
)
def test_importing_loads_no_optional_package(statement: str) -> None:
    assert not loaded(statement) & {
        "optuna",
        "mlflow",
        "lmms_eval",
        "matplotlib",
        "pandas",
        "rich",
        "sklearn",
    }


def test_the_command_line_loads_torch_only_when_it_must() -> None:
    # OMP_WAIT_POLICY is read when torch is loaded: the command line has to set it before.
    assert "torch" not in loaded("import autotc.cli")
