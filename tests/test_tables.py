"""Tables fit a terminal: nothing that is read as one piece is broken, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotc.cli.output import Output
from autotc.report.search import front_table, store_line
from autotc.report.tables import fitting, table, wrapped

LABEL = "image projector divprune 0.25; video projector evs 0.35; audio encoder[0] tome 0.4"
PATH = "runs/a-study-of-a-model-with-a-long-name-b0.5-s0/front/trial-1234.yaml"
POINT = {"flops_ratio": 0.432, "tokens": {"image": 30, "video": 36, "audio": 34}, "trial": 12}
ACCURACY = {group: [0.85, 0.65, 1.0] for group in ("image", "video", "audio", "image+audio")}


def fitted(width: int | None, make: Callable[[], str]) -> str:
    with fitting(width):
        return make()


@pytest.mark.parametrize("width", [60, 80, 100, 150])
@pytest.mark.parametrize("policy", [PATH, LABEL])
def test_a_front_fits_and_breaks_no_path_and_no_number(width: int, policy: str) -> None:
    points = [{**POINT, "accuracy": ACCURACY, "policy": policy, "label": None}] * 2
    text = fitted(width, lambda: front_table(points))
    assert all(len(line) <= max(width, len(PATH) + 4) for line in text.splitlines())
    assert text.count("0.850 [0.650, 1.000]") == 8
    if policy is PATH:
        assert text.count(PATH) == 2
    else:
        assert all(" ".join(text.split()).count(part) == 2 for part in LABEL.split("; "))


def test_piped_tables_are_as_wide_as_they_are() -> None:
    line = fitted(None, lambda: table(["a", "b"], [[LABEL * 3, PATH * 3]])).splitlines()[-1]
    assert line == f"{LABEL * 3}  {PATH * 3}"


def test_columns_that_are_left_over_stand_below_with_the_same_beginning() -> None:
    headers, row = ["name", *(f"number {i}" for i in range(20))], ["tome", *(f"{i}.000" for i in range(20))]
    text = fitted(50, lambda: table(headers, [row]))
    assert len(re.findall(r"^tome ", text, re.MULTILINE)) == text.count("\n\n") + 1 > 1
    assert all(len(line) <= 50 for line in text.splitlines())
    assert all(number in text for number in row)


def test_a_text_that_would_be_torn_into_many_lines_stands_on_its_own() -> None:
    rows = [["x" * 30, LABEL, "y" * 30]]
    assert f"\n    {LABEL}" in fitted(90, lambda: table(["a", "policy", "b"], rows))


WORDS = st.text("abcdefg0123456789./", min_size=1, max_size=30)


@given(
    rows=st.lists(st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=4, max_size=4), min_size=1, max_size=4),
    width=st.integers(40, 120),
)
def test_every_word_is_there_whole(rows: list[list[str]], width: int) -> None:
    text = fitted(width, lambda: table(["one", "two words", "three", "four"], rows))
    shown = text.split()
    for word in (word for row in rows for cell in row for word in cell.split()):
        assert word in shown
    longest = max((len(word) for row in rows for cell in row for word in cell.split()), default=0)
    numbers = max(len(cell) for row in rows for cell in row)  # numbers stay on one line
    assert all(len(line) <= max(width, 2 * longest + 12, 2 * numbers + 12) for line in text.splitlines())


def test_long_lines_wrap_and_commands_do_not() -> None:
    command = "  autotc eval " + "policies/a.yaml --limit 5 " * 5
    text = fitted(40, lambda: wrapped(f"note         {'some words ' * 8}\n{command}"))
    lines = text.split("\n")
    assert lines[-1] == command
    assert all(line.startswith(" " * 13) and len(line) <= 40 for line in lines[1:-1])


def test_an_output_is_made_for_the_terminal_that_takes_it() -> None:
    output = Output({}, lambda: table(["a", "b"], [[LABEL, PATH]]))
    assert PATH in output.shown(80)
    assert max(map(len, output.shown(80).splitlines())) <= 80
    assert output.shown(None).splitlines()[-1] == f"{LABEL}  {PATH}"
    assert Output({}, "as it is " * 20).shown(40) == "as it is " * 20


def test_a_store_below_this_folder_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_line(f"sqlite:///{tmp_path}/runs/mlflow.db").endswith(" sqlite:///runs/mlflow.db")
    assert store_line("sqlite:////else/where.db").endswith(" sqlite:////else/where.db")
    assert store_line("https://mlflow.example") == "MLflow   https://mlflow.example"
