"""Metrics of the user's own that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotc import cli
from autotc.errors import DataError
from autotc.evaluate.measures import contains, exact
from autotc.evaluate.metrics import find_metric, metric_of

MODULES = {
    "broken.py": "def f(said, right)\n    return 1\n",
    "leaving.py": "import sys\nsys.exit(5)\n",
    "raising.py": "raise RuntimeError('no')\n",
    "fine.py": """
import sys
def raises(said, right):
    return said[10**9]
def leaves(said, right):
    sys.exit(7)
def one(said):
    return 1.0
def three(said, right, more):
    return 1.0
def nan(said, right):
    return float('nan')
def huge(said, right):
    return 10 ** 400
def none(said, right):
    return None
def words(said, right):
    return '1'
def talks(said, right):
    print('scoring', said)
    return 0.5
value = 3
""",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in MODULES.items():
        Path(name).write_text(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("close", "'close' is unknown"),
        ("broken:f", "SyntaxError"),
        ("leaving:f", "SystemExit: 5"),
        ("raising:f", "RuntimeError: no"),
        ("fine:value", "is not a function"),
        ("fine:missing", "AttributeError"),
        ("fine:one", r"does not take \(said, right\)"),
        ("fine:three", r"does not take \(said, right\): missing a required argument: 'more'"),
        ("x" * 5000 + ":f", "cannot be imported"),
        ("a\0b:f", "cannot be imported"),
    ],
)
def test_what_cannot_be_a_metric(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_metric(name)
    assert len(str(caught.value)) < 400
    assert str(caught.value).startswith("metric: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "IndexError: string index out of range"),
        ("leaves", "SystemExit: 7"),
        ("nan", r"returned nan; a number in \[0, 1\]"),
        ("huge", r"a number in \[0, 1\]"),
        ("none", "returned None"),
        ("words", "returned '1'"),
    ],
)
def test_what_fails_as_it_scores(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_metric(f"fine:{name}")("y" * 100_000, "right")
    assert len(str(caught.value)) < 400


def test_what_a_metric_prints_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert find_metric("fine:talks")("a", "b") == 0.5
    out, err = capsys.readouterr()
    assert (out, err) == ("", "scoring a\n")


def test_a_function_is_checked_as_a_name_is() -> None:
    assert metric_of(exact) is exact
    assert metric_of("contains") is contains
    with pytest.raises(DataError, match="fails on"):
        metric_of(lambda said, right: 1 / 0)("a", "b")
    wrapped = metric_of(lambda said, right: 1)
    assert metric_of(wrapped) is wrapped


@pytest.mark.parametrize("name", ["leaving:f", "broken:f", "fine:one"])
def test_the_command_tells_it_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "a", "images": "a.png", "prompt": "p", "answer": "a"}
    Path("data.jsonl").write_text(json.dumps(row))
    assert cli.main(["eval", "none", "--data", "data.jsonl", "--metric", name, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" or "error" in json.loads(out)
    assert "metric: " in err
    assert err.count("\n") == 1
