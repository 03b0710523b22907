"""Light commands start without torch and transformers; how long they take is `tests/benchmarks/startup.py`'s."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

STARTUP = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "startup.py"))
NAMES = (
    "--help",
    "validate policy",
    "validate space",
    "validate data",
    "presets",
    "presets NAME",
    "models",
    "show",
    "study",
)


@pytest.mark.parametrize("name", NAMES)
def test_light_commands_load_neither_torch_nor_transformers(name: str, tmp_path: Path) -> None:
    commands = STARTUP["commands"](tmp_path)
    assert tuple(commands) == NAMES
    found = STARTUP["started"](commands[name])
    assert found["code"] == 0
    assert not {"torch", "transformers"} & {*found["modules"]}
    # What --help and completion wait for is the parser alone.
    if name == "--help":
        assert not {*STARTUP["HEAVY"]} & {*found["modules"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--space", "none.yaml"],
        ["search", "--space", "/dev/full"],
        ["search", "--budget", "2"],
        ["search", "--storage", "redis://host"],
        ["worker", "study", "--storage", "postgresql://host:port/name"],
        ["eval", "none.yaml"],
        ["check", "none.yaml"],
        ["compare", "--presets", "none"],
        ["export", "/dev/full", "--to", "vllm"],
        ["presets", "none", "--keep", "0.5"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_told_before_anything_heavy_is_loaded(arguments: list[str]) -> None:
    found = STARTUP["started"](arguments)
    assert found["code"] == 2
    assert not {"torch", "transformers"} & {*found["modules"]}
