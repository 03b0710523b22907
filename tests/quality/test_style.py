"""ruff's rules and format hold; where a rule does not, it is written down why."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from . import exceptions

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [("check", "."), ("format", "--check", ".")], ids=["rules", "format"])
def test_style(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_rule_that_is_off_somewhere_has_a_reason() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert lint["per-file-ignores"] == {pattern: list(rules) for pattern, rules in exceptions.RUFF.items()}


def test_no_rule_is_off_where_it_holds() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    limits = [f"lint.mccabe.max-complexity={lint['mccabe']['max-complexity']}"]
    limits += [f"lint.pylint.{name}={value}" for name, value in lint["pylint"].items()]
    rules = sorted({rule for rules in exceptions.RUFF.values() for rule in rules})
    command = [sys.executable, "-m", "ruff", "check", ".", "--isolated", "--output-format", "json"]
    command += ["--select", ",".join(rules), *(part for limit in limits for part in ("--config", limit))]
    broken = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout)
    places = [(Path(place["filename"]).relative_to(ROOT), place["code"]) for place in broken]
    for pattern, rules_off in exceptions.RUFF.items():
        for rule in rules_off:
            start = pattern.removesuffix("**")
            assert any(path.as_posix().startswith(start) and code.startswith(rule) for path, code in places), (
                f"{pattern}: {rule}"
            )
