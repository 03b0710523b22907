"""Imports run downward, commands do not know each other, and each optional package is imported in its own room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..benchmarks import house
from . import exceptions

ROOT = Path(__file__).parents[2]
STARTUP = ("autotc/__init__.py", "autotc/cli/", "autotc/lazy.py")
"""Where parts of autotc are imported when they are first needed, so that a command starts at once."""


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def importers(*packages: str) -> set[str]:
    """Files of autotc that import one of some packages, or a part of it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in house.sources(ROOT / "autotc")
        if any(module.split(".")[0] in packages for module in imported(path))
    }


def test_contracts_between_and_inside_packages_hold() -> None:
    # importlinter has no __main__; its command is a function.
    code = "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert ", 0 broken" in done.stdout


def test_figures_are_drawn_in_one_room() -> None:
    outside = {path for path in importers("matplotlib") if not path.startswith("autotc/report/figures")}
    assert outside == exceptions.FIGURES.keys()


def test_arguments_are_parsed_in_one_room() -> None:
    assert {p for p in importers("argparse") if not p.startswith("autotc/cli")} == exceptions.ARGPARSE.keys()


def test_mlflow_is_known_to_one_file() -> None:
    assert importers("mlflow") == {"autotc/tracking/store.py"}


def test_parts_of_autotc_are_imported_at_the_top_of_a_file() -> None:
    inside = {
        path.relative_to(ROOT).as_posix()
        for path in house.sources(ROOT / "autotc")
        if any(module.split(".")[0] == "autotc" for _, module in house.imports_inside_functions(path))
    }
    assert {path for path in inside if not path.startswith(STARTUP)} == exceptions.INNER_IMPORTS.keys()
