"""The public face: what ``autotc`` offers is callable whatever was imported, and the shell has a command for it."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys

import pytest

import autotc
from autotc.cli.program import COMMANDS

FUNCTIONS = sorted(name for name in autotc.__all__ if name.islower())
NAMESAKES = [name for name in FUNCTIONS if importlib.util.find_spec(f"autotc.{name}") is not None]
"""Functions that have the name of a package."""

CODE = """
import importlib, inspect, json, sys
import autotc
functions, namesakes = json.loads(sys.argv[1])
before = {name: getattr(autotc, name) for name in functions}
for name in namesakes:
    importlib.import_module(f"autotc.{name}")
after = {name: getattr(autotc, name) for name in functions}
print(json.dumps([inspect.isfunction(before[name]) and before[name] is after[name] for name in functions]))
"""


def test_functions_stay_functions_when_their_namesakes_are_imported() -> None:
    assert "search" in NAMESAKES
    command = [sys.executable, "-c", CODE, json.dumps([FUNCTIONS, NAMESAKES])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert dict(zip(FUNCTIONS, json.loads(done.stdout), strict=True)) == dict.fromkeys(FUNCTIONS, True)


@pytest.mark.parametrize("name", autotc.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert name in dir(autotc)
    assert getattr(autotc, name).__doc__


def test_imports_from_a_namesake_reach_the_package() -> None:
    from autotc.search import space
    from autotc.search.space import SearchSpace

    assert space.SearchSpace is SearchSpace is autotc.SearchSpace
    assert sys.modules["autotc.search"] is not autotc.search
    with pytest.raises(AttributeError, match="'autotc' has no attribute 'serach'"):
        _ = autotc.serach


FOR_PYTHON = {"apply", "calibrate", "configure", "evaluator", "load", "sampler"}
"""Functions that are no commands: `bench --calibrate` calls calibrate, and options stand for the rest."""


def test_commands_are_the_functions() -> None:
    called = {name: command.function for name, command in COMMANDS.items()}
    assert {name: function for name, function in called.items() if name != function} == {"eval": "evaluate"}
    assert sorted(called.values()) == sorted(set(FUNCTIONS) - FOR_PYTHON)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_calls_its_function(name: str) -> None:
    command = COMMANDS[name]
    source = inspect.getsource(inspect.getmodule(command.run))  # type: ignore[arg-type]
    assert len(re.findall(rf"autotc\.{command.function}\(", source)) == 1
    assert set(re.findall(r"\bautotc\.([a-z]+)\(", source)) <= {command.function, "calibrate"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_typed_and_has_an_example(name: str) -> None:
    function = getattr(autotc, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert "Example:" in function.__doc__
    assert f"autotc.{name}(" in function.__doc__
