"""Data files that are wrong: one line with file, line and key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.records import load_records

GOOD: dict[str, Any] = {"id": "a", "images": ["a.png"], "prompt": "Which?", "answer": "7"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


def told(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_records(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 700
    return message


def row(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(images=["x" * 5000]), "images: 'xxx"),
        (row(images=["a\0b.png"]), "null byte"),
        (row(images=["\ud800.png"]), "cannot be read|does not exist"),
        (row(images=["data:image/png;base64,AAAA"]), r"is an address \(data:\)"),
        (row(images=["https://example.org/a.png"]), r"is an address \(https:\)"),
        (row(images=["pipe.png"]), "is no regular file"),
        (row(images=["folder"]), "is a directory"),
        (row(images=["none.png"]), "does not exist"),
        (row(images=[["a.png"]]), "a path or a list of paths is expected"),
        (row(images=[""]), "a path or a list of paths is expected"),
        (row(images=[]), "no media"),
        (row(video=["a.txt"]), "cannot be decoded; supported are"),
        (row(audio={"path": "a.wav"}), "a path or a list of paths is expected"),
        (row(prompt="\ud800"), "prompt: .* holds half of a character"),
        (row(prompt=3), "prompt: 3 given; a text"),
        (row(prompt=" "), "prompt: ' ' given; a text"),
        (row(answer=None), "answer: None given; a text"),
        (row(answer=True), "answer: True given; a text"),
        (row(answer=["7"] * 10_000), "answer: a list of 10000 given"),
        (row(**{"y" * 100_000: 1}), "unknown key"),
        ('{"id": "a", "id": "b"}', "the key 'id' stands twice"),
        ('{"id": ' + "9" * 5000 + "}", "cannot be read"),
        (row().replace('"7"', "9" * 5000), "cannot be read"),
        (row().replace('"7"', "NaN"), "NaN is not JSON"),
        (row().replace('"7"', "-Infinity"), "-Infinity is not JSON"),
        ("[" * 100_000, "nested too deep|is not JSON"),
        ('{"id": ' + "[" * 50_000 + "]" * 50_000 + "}", "nested too deep"),
        ("7", "holds int"),
        ("nothing", "is not JSON"),
    ],
)
def test_a_line_that_is_wrong(folder: Path, line: str, message: str) -> None:
    path = folder / "data.jsonl"
    path.write_text("\n".join([row(id="first"), line]), encoding="utf-8")
    found = told(path)
    assert "data.jsonl: line 2" in found
    with pytest.raises(DataError, match=message):
        load_records(path)


def test_files_that_are_no_data(folder: Path) -> None:
    assert "is a directory" in told(folder)
    assert "is no regular file" in told(folder / "pipe.png")
    assert "is no regular file" in told(Path("/dev/full"))
    assert "no such file" in told(folder / "none.jsonl")
    assert "no UTF-8 text" in told(folder / "a.png")
    told(Path("x" * 5000))
    told(Path("a\0b"))
    (folder / "empty.jsonl").write_text("\n\n")
    assert "is empty" in told(folder / "empty.jsonl")
    (folder / "twice.jsonl").write_text(f"{row()}\n{row()}")
    assert "id: 'a' is on line 1 too" in told(folder / "twice.jsonl")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("a.png"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from(
    [
        "id",
        "images",
        "video",
        "audio",
        "prompt",
        "answer",
        "answers",
        "label",
        "questions",
        "turns",
        "system",
        "messages",
    ]
)


def reads_or_tells(folder: Path, data: bytes) -> None:
    path = folder / "data.jsonl"
    path.write_bytes(data)
    reads_or_tells_file(path)


def reads_or_tells_file(path: Path) -> None:
    message = ""
    try:
        assert all(record.media for record in load_records(path))
    except DataError as error:
        message = str(error)
    assert not message or message.isprintable()
    assert len(message) < 700


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=7), max_size=3))
def test_drawn_lines(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    reads_or_tells(drawn_folder(tmp_path_factory), "\n".join(map(json.dumps, rows)).encode())


@given(st.dictionaries(KEYS, VALUES, max_size=2))
def test_drawn_changes_of_a_good_line(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    reads_or_tells(drawn_folder(tmp_path_factory), row(**changes).encode())


@given(st.binary(max_size=200), st.integers(0, 80))
def test_drawn_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int) -> None:
    good = row().encode()
    reads_or_tells(drawn_folder(tmp_path_factory), good[:at] + data + good[at:])


@given(
    st.lists(st.dictionaries(KEYS, VALUES.map(str), max_size=5), max_size=3), st.text(max_size=30), st.integers(0, 90)
)
def test_drawn_tables(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], noise: str, at: int
) -> None:
    folder = drawn_folder(tmp_path_factory)
    for row in rows:
        row.setdefault("id", "a")
    text = pd.DataFrame(rows or [GOOD]).to_csv(index=False)
    (folder / "data.csv").write_text(text[:at] + noise + text[at:], encoding="utf-8", errors="replace")
    reads_or_tells_file(folder / "data.csv")


def drawn_folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "drawn"
    if not folder.exists():
        folder.mkdir()
        Image.new("RGB", (8, 6)).save(folder / "a.png")
    return folder
