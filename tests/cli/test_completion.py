"""Completion in real shells: commands, options, choices, names that autotc knows, studies, files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotc import cli
from autotc.cli.options import SHELLS

CASES = [
    ("autotc fro", "front", None),
    ("autotc search --budget-", "--budget-kv", "--seed"),
    ("autotc eval none --split ", "val", "front"),
    ("autotc presets visionz", "visionzip", "fastv"),
    ("autotc presets --family ", "query", "divprune"),
    ("autotc compare --by location --mechanism divp", "divprune", "fastv"),
    ("autotc front ", "a-study", "compare"),
    ("autotc search --resume a-", "a-study", None),
    ("autotc search --space ever", "everything", "default"),
    ("autotc show pol", "policies/", None),
    ("autotc export policies/x.yaml --to tens", "tensorrt-llm", "vllm"),
]
"""Line -> what is offered, and what is not."""
LISTS = ("autotc compare --presets fastv,divp", "fastv,divprune")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runs/a-study/trials", "runs/compare/samples", "policies"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "policies" / "x.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["--print-completion", shell]) == 0
    return capsys.readouterr().out


def ran(command: list[str], text: str, folder: Path) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    made = script("bash", capsys)
    for line, offered, other in [*CASES, (*LISTS, None)]:
        words = " ".join(f"'{word}'" for word in line.split(" "))
        ask = f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_autotc 2>/dev/null\n"
        shown = ran([bash, "--norc"], f'{made}\n{ask}printf "%s\\n" "${{COMPREPLY[@]}}"', folder).split()
        assert any(word.rstrip("/") == offered.rstrip("/") for word in shown), (line, shown)
        assert other not in shown, line


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "autotc.fish").write_text(script("fish", capsys))
    for line, offered, other in [*CASES, (*LISTS, None)]:
        shown = ran(["fish", "--no-config"], f"source autotc.fish; complete -C '{line}'", folder).splitlines()
        words = [word.partition("\t")[0] for word in shown]
        assert offered in words, (line, words)
        assert other not in words, line


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_understands_the_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "_autotc").write_text(script("zsh", capsys))
    ask = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[autotc]; autoload +X _autotc"
    assert ran(["zsh", "-f", "-c", ask], "", folder).split() == ["_autotc"]
    ran(["zsh", "-f", "-n", "_autotc"], "", folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_heavy_is_loaded(shell: str) -> None:
    code = (
        "import sys; from autotc.cli import main; main(['--print-completion', sys.argv[1]]);"
        "print({'torch', 'transformers', 'optuna'} & {*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, shell], capture_output=True, text=True, timeout=60)
    assert done.stderr == "set()\n"
    assert "autotc" in done.stdout


def test_what_is_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["--print-completion", "bsh"]) == 2
    assert "did you mean 'bash'?" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["--print-completion", "bash"]) == 2
    assert "pip install 'autotc[search]'" in capsys.readouterr().err
