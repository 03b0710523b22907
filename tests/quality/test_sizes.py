"""Nothing is too long to be read at once: files, functions, lists of parameters; and types only get sharper."""

from __future__ import annotations

from pathlib import Path

from ..benchmarks import house
from . import exceptions

ROOT = Path(__file__).parents[2]
SOURCES = house.sources(ROOT / "autotc")
TESTS = house.sources(ROOT / "tests")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_source_files_are_short() -> None:
    assert {name(p): house.lines(p) for p in SOURCES if house.lines(p) > 400}.keys() == exceptions.SOURCE_LINES.keys()


def test_test_files_are_short() -> None:
    assert {name(p): house.lines(p) for p in TESTS if house.lines(p) > 450}.keys() == exceptions.TEST_LINES.keys()


def functions() -> list[house.Measured]:
    return [function for path in (*SOURCES, *TESTS) for function in house.functions(path)]


def test_functions_are_short() -> None:
    long = {f"{name(f.path)}:{f.name}": f.body for f in functions() if f.body > 50}
    assert long.keys() == exceptions.BODY_LINES.keys(), long


def test_functions_take_few_parameters() -> None:
    wide = {f"{name(f.path)}:{f.name}": f.parameters for f in functions() if f.parameters > 8}
    assert wide.keys() == exceptions.PARAMETERS.keys(), wide


def test_every_function_says_what_it_returns() -> None:
    assert [f"{name(f.path)}:{f.line}" for f in functions() if not f.typed] == []


def test_any_only_falls() -> None:
    total = sum(house.uses_of_any(path) for path in SOURCES)
    assert total <= exceptions.MOST_USES_OF_ANY
    assert total > exceptions.MOST_USES_OF_ANY - 25, f"lower MOST_USES_OF_ANY to {total}"


def test_code_is_formatted_by_the_formatter() -> None:
    skips = {name(p): p.read_text(encoding="utf-8").count("# fmt: " + "skip") for p in (*SOURCES, *TESTS)}
    assert sum(skips.values()) <= exceptions.MOST_FORMAT_SKIPS, {path: n for path, n in skips.items() if n}
