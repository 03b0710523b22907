"""What .github/CONTRIBUTING.md says to do is carried out, and what it names exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_adding_a_family_names_what_there_is() -> None:
    text = section("Add a model family")
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("autotc/models", "tests/models")
        for path in (ROOT / folder).glob("*.py")
    )
    names = set(re.findall(r"`(?:\w+\.)?(\w+)`", text))
    assert len(names) > 40
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", code)) == []
    files = re.findall(r"`([\w/]+\.py)`", text)
    folders = ("", "autotc/models/", "tests/models/")
    assert [file for file in files if not any((ROOT / f"{folder}{file}").exists() for folder in folders)] == []


def test_adding_a_mechanism_takes_what_is_said(tmp_path: Path) -> None:
    """In a copy of the package: one file, one registry line, one row; then the tests of mechanisms run on it."""
    heavy = shutil.ignore_patterns("*.safetensors", "*.flac", "__pycache__")
    shutil.copytree(ROOT / "autotc", tmp_path / "autotc", ignore=heavy)
    shutil.copytree(ROOT / "tests" / "mechanisms", tmp_path / "tests" / "mechanisms", ignore=heavy)
    (tmp_path / "tests" / "__init__.py").touch()
    blocks = re.findall(
        r"```python\n# (\S+\.py)(.*?)\n(.*?)```", section("Add a mechanism").split("From here on")[0], re.DOTALL
    )
    assert [path for path, _, _ in blocks] == [
        "autotc/mechanisms/similarity/largest.py",
        "autotc/mechanisms/registry.py",
        "tests/mechanisms/rows/largest.py",
    ]
    for path, _, code in blocks:
        target = tmp_path / path
        if not target.exists():
            target.write_text(code, encoding="utf-8")
            continue
        registry = target.read_text(encoding="utf-8")
        line = code.strip()
        name = line.rsplit(" ", 1)[1]
        first = "from autotc.mechanisms.similarity."
        registry = registry.replace(first, f"{line}\n{first}", 1).replace(
            "_CLASSES: tuple[type[MechanismBase], ...] = (",
            f"_CLASSES: tuple[type[MechanismBase], ...] = (\n    {name},",
            1,
        )
        target.write_text(registry, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/mechanisms",
        "-k",
        "largest",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert (
        "test_reference[largest-0]"
        in subprocess.run(
            [*command, "--collect-only"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout
    )
