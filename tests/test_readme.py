"""What the README shows is carried out, and what it lists is what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from autotc.presets.listing import presets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(start: str, end: str) -> str:
    return README.split(start)[1].split(end)[0]


def test_table_of_presets_is_what_the_registry_says() -> None:
    shown = between("<!-- presets: autotc presets --markdown -->\n", "<!-- end of presets -->").strip()
    assert shown == presets().to_markdown(), "run `autotc presets --markdown` and put its table into the README"


def test_its_commands_are_what_the_checks_run() -> None:
    installs = re.findall(r"^    (python -m pip install .*)$", README, re.MULTILINE)
    assert [re.findall(r"-c constraints\.txt -e '\.\[(\w+)\]' && (.*)", line)[0] for line in installs] == [
        ("search", "autotc search"),
        ("test", "python -m pytest"),
    ]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"\n{installs[1]} || exit\n" in run


def test_adding_a_mechanism_takes_what_the_readme_says(tmp_path: Path) -> None:
    """In a copy of the package: one file, one registry line, one row; then the tests of mechanisms run on it."""
    heavy = shutil.ignore_patterns("*.safetensors", "*.flac", "__pycache__")
    shutil.copytree(ROOT / "autotc", tmp_path / "autotc", ignore=heavy)
    shutil.copytree(ROOT / "tests" / "mechanisms", tmp_path / "tests" / "mechanisms", ignore=heavy)
    (tmp_path / "tests" / "__init__.py").touch()
    blocks = re.findall(
        r"```python\n# (\S+\.py)(.*?)\n(.*?)```", between("## Add a mechanism", "From here on"), re.DOTALL
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
